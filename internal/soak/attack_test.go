//go:build linux

package soak

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// Attackers have machines of their own. Here they are a process of their own, which gets what processor time the server and
// its healthy users leave, and which comes from other addresses than they do.

// orders are what a process of attackers is told.
type orders struct {
	At        target
	Flood     string // a name in floods, or visits
	Attackers int
	Addresses int // 127.0.1.1 and so on; 0 leaves it to the system
	Rate      int // attacks a second, all attackers together; 0 for as many as are answered
}

// visits are those of TestChurn.
const visits = "visits"

// toll is what the attackers have seen.
type toll struct {
	Done int            // attacks
	Ends map[string]int // how they ended
	Took time.Duration
}

// stop ends the attack.
func (c *child) stop() (seen toll) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.ask("stop")), &seen); err != nil {
		c.t.Fatal(err)
	}
	c.end()
	return seen
}

// attacker is one of them. It attacks again and again.
type attacker struct {
	orders
	number int
	at     netip.AddrPort
	from   netip.Addr
	places *pacer // nil for as many attacks as are answered
	over   <-chan struct{}
	reader rawReader
	hello  []byte // the first half of a TLS ClientHello

	ends  map[string]int
	done  int
	first func() // called when an attack has ended
}

// attackMain prints "ready", attacks until its input has a line and an attack has ended, or until its input ends, and prints its toll.
func attackMain() {
	var o orders
	childIsTold(&o)
	runtime.GOMAXPROCS(o.Attackers + 2) // a system call that blocks delays no other goroutine
	over := make(chan struct{})
	var places *pacer
	if o.Rate > 0 {
		within := 100 * time.Millisecond // a flood is no worse after a pause
		if o.Flood == visits {
			within = time.Second
		}
		places = newPacer(o.Rate, within, over)
	}
	hello := clientHello()
	one := make(chan struct{})
	first := sync.OnceFunc(func() { close(one) })
	attackers := make([]*attacker, o.Attackers)
	began := time.Now()
	var attacking sync.WaitGroup
	for i := range attackers {
		a := &attacker{orders: o, number: i, at: netip.MustParseAddrPort(o.At.Addr), places: places, over: over,
			hello: hello[:len(hello)/2], ends: make(map[string]int), first: first}
		if o.Addresses > 0 {
			a.from = netip.AddrFrom4([4]byte{127, 0, 1, byte(1 + i%o.Addresses)})
			a.At.From = a.from.String()
		}
		attackers[i] = a
		attacking.Go(func() {
			if o.Flood == visits {
				a.visits()
			} else {
				floods[o.Flood].attack(a)
			}
		})
	}
	fmt.Println("ready")
	if bufio.NewScanner(os.Stdin).Scan() {
		select {
		case <-one:
		case <-time.After(patience / 2):
		}
	}
	close(over)
	attacking.Wait()
	seen := toll{Ends: make(map[string]int), Took: time.Since(began)}
	for _, a := range attackers {
		seen.Done += a.done
		for end, n := range a.ends {
			seen.Ends[end] += n
		}
	}
	b, err := json.Marshal(seen)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(b))
}

// clientHello returns what a TLS client sends first.
func clientHello() []byte {
	var sent bytes.Buffer
	_ = tls.Client(onlyWritten{w: &sent}, &tls.Config{InsecureSkipVerify: true}).Handshake()
	return sent.Bytes()
}

// onlyWritten is a connection that takes what is written to it, and has nothing to say.
type onlyWritten struct {
	net.Conn
	w *bytes.Buffer
}

func (o onlyWritten) Write(b []byte) (int, error) { return o.w.Write(b) }
func (onlyWritten) Read([]byte) (int, error)      { return 0, errors.New("nobody answers") }
func (onlyWritten) Close() error                  { return nil }

// goesOn waits for the attacker's turn and reports whether the flood goes on.
func (a *attacker) goesOn() bool {
	if a.places != nil {
		_, ok := <-a.places.places
		return ok
	}
	select {
	case <-a.over:
		return false
	default:
		return true
	}
}

// waits waits for d and reports whether the flood goes on.
func (a *attacker) waits(d time.Duration) bool {
	select {
	case <-a.over:
		return false
	case <-time.After(d):
		return true
	}
}

// ended notes how an attack ended.
func (a *attacker) ended(how string) {
	a.done++
	a.ends[how]++
	a.first()
}

const (
	left       = "left"          // the attacker has
	notReached = "no connection" // it was not let as far as TCP
	notTold    = "closed untold" // the server has closed
	answered   = "answered"      // the server has
)

func howToldBy(code protocol.CloseCode) string {
	if code == 0 {
		return notTold
	}
	return code.Error()
}

// raw does something with a connection of system calls alone. do returns how it ended.
func (a *attacker) raw(do func(rawConn) string) {
	c, err := dialRaw(a.at, a.from)
	if err != nil {
		a.ended(notReached)
		return
	}
	a.reader.at, a.reader.end = 0, 0
	a.ended(do(c))
	c.reset()
}

// holds makes a connection that does something and then waits for its end.
func (a *attacker) holds(do func(*peer)) {
	began := time.Now()
	p, err := dial(target{Addr: a.At.Addr, From: a.At.From}) // no TLS: where there is any, this is not about its end
	if err != nil {
		a.ended(notReached)
		a.waits(100 * time.Millisecond)
		return
	}
	heard := make(chan protocol.CloseCode, 1)
	go func() {
		code, _ := p.hearOut()
		heard <- code
	}()
	do(p)
	select {
	case code := <-heard:
		p.reset()
		a.ended(howToldBy(code))
		if time.Since(began) < 50*time.Millisecond { // it was not let in, and does not make another flood of that
			a.waits(100 * time.Millisecond)
		}
	case <-a.over:
		p.reset()
		<-heard
		a.ended(left)
	}
}

type transport int

const (
	overTCP transport = iota
	overTLS
	overWeb
	overUDP // TCP, and datagrams at the same port
)

// flood is what attackers do. ends are how it may end where nothing is refused, besides left.
type flood struct {
	attackers, addresses int
	rate                 int
	over                 transport // what the server speaks
	unfinished           bool      // the server waits for less long than it otherwise would
	ends                 []string
	attack               func(*attacker)
}

// floods is filled by init, since its functions look into it.
var floods map[string]flood

func init() {
	half := logonFrame("nobody")[:layout.HeaderLen/2]
	long := frame(&protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "nobody", Body: make([]byte, 2000)})
	wrong := logonFrame("nobody", protocol.FieldToken, bad)
	floods = map[string]flood{
		"connect and leave": {8, 4, 2000, overTCP, false, nil, func(a *attacker) {
			for a.goesOn() {
				a.raw(func(rawConn) string { return left })
			}
		}},
		"half a header": {300, 2, 0, overTCP, true, []string{protocol.LogonTimeout.Error()}, func(a *attacker) {
			for a.goesOn() {
				a.holds(func(p *peer) { _ = p.write(half) })
			}
		}},
		"hellos that never end": {300, 2, 0, overTCP, true, []string{protocol.LogonTimeout.Error()}, func(a *attacker) {
			for a.goesOn() {
				a.holds(func(p *peer) {
					for _, b := range long[:len(long)-1] {
						if p.write([]byte{b}) != nil || !a.waits(20*time.Millisecond) {
							return
						}
					}
				})
			}
		}},
		"one byte a write": {20, 4, 10_000, overTCP, false, []string{answered}, (*attacker).trickle},
		"bad logons": {64, 4, 10_000, overTCP, false, []string{protocol.Unauthorized.Error()}, func(a *attacker) {
			for a.goesOn() {
				a.raw(func(c rawConn) string {
					_ = c.write(wrong)
					return howToldBy(a.reader.hearOut(c))
				})
			}
		}},
		"half a TLS hello": {300, 2, 0, overTLS, true, []string{notTold}, func(a *attacker) {
			for a.goesOn() {
				a.holds(func(p *peer) { _ = p.write(a.hello) })
			}
		}},
		"TLS connect and leave": {16, 4, 500, overTLS, false, nil, func(a *attacker) {
			for a.goesOn() {
				p, err := dial(a.At)
				if err != nil {
					a.ended(notReached)
					continue
				}
				p.reset()
				a.ended(left)
			}
		}},
	}
	maps.Copy(floods, webFloods())
	maps.Copy(floods, datagramFloods())
}

// trickle logs on, and asks, one byte at a time.
func (a *attacker) trickle() {
	p, err := dial(a.At)
	if err != nil {
		a.ended(notReached)
		return
	}
	defer p.reset()
	write := func(b []byte) bool {
		for i := range b {
			if !a.goesOn() {
				return false
			}
			_ = p.write(b[i : i+1])
		}
		return true
	}
	if !write(logonFrame(fmt.Sprint("trickle", a.number))) {
		return
	}
	if _, err := p.answer(); err != nil {
		a.ended(err.Error())
		return
	}
	for id := uint32(1); ; id++ {
		if !write(frame(&protocol.Message{Type: echo, ID: id, Body: []byte("by and by")})) {
			return
		}
		if m, err := p.next(); err != nil || m.ID != id {
			a.ended(fmt.Sprint("a wrong answer, or none: ", err))
			return
		}
		a.ended(answered)
	}
}
