//go:build linux

package soak

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/contract"
	"github.com/rollcall-go/rollcall/usermgr"
)

// story is what happens to one server. A seed decides all of it but for the scheduler's part.
type story struct {
	seed       uint64
	secure     bool // TLS
	workers    int
	relogon    usermgr.RelogonMode
	policy     contract.Policy
	grace      time.Duration
	returnWins bool
	slow       engine.SlowPolicy
	tight      bool          // OutboundLimit is less than what is sent, so that clients can be slow
	deciding   time.Duration // how long the authenticator takes; 0: there is none
	telling    time.Duration // how long event handlers take
	stopAfter  time.Duration // when the engine is told to stop; 0: when all clients have left
	clients    [][]call      // the clients run at the same time, each makes one call after another
	deeds      []deed        // what the server does meanwhile
}

// call is one connection of a client.
type call struct {
	user     string
	device   uint16
	back     int  // which of the user's sessions it comes back with: 1 for the last that a client was told of; 0 for none
	buffer   int  // size of the socket's receive buffer; 0 leaves it
	together bool // the first volley goes out in one write with the Logon
	waits    bool // or it waits until the Logon is answered
	late     time.Duration
	volleys  []volley
	linger   time.Duration // between the last volley and the end; 0: at once
	end      ending
}

// volley are requests that are sent in one write.
type volley struct {
	pause     time.Duration // before
	questions []question
}

// question is one request.
type question struct {
	takes uint8 // how long the handler takes, in tenths of a millisecond, with Workers
	size  int   // of the answer's body
}

// ending is how a client ends its connection.
type ending struct {
	how    manner
	closes bool // a Close frame is sent first
	begins bool // or the beginning of a frame
}

type manner uint8

const (
	byFIN        manner = iota // a FIN; over TLS close_notify, and a FIN behind it
	byNotice                   // close_notify, and no FIN until the server has ended its side
	byFINBeneath               // a FIN, without close_notify
	byClosing                  // closes its socket, whatever has come
	byReset
	byStaying // until all others have left
)

// deed is something that the server does.
type deed struct {
	pause  time.Duration
	do     doing
	user   string
	device uint16
	revoke time.Duration
	times  int // of pushes
	size   int
}

type doing string

const (
	kickUser    doing = "kick the user"
	kickDevice  doing = "kick the device"
	kickSession doing = "kick the user's last session"
	unregister  doing = "unregister the user"
	pushes      doing = "push"
	broadcasts  doing = "broadcast"
	asksClients doing = "ask the user's clients"
	clears      doing = "clear"
)

// tightLimit is OutboundLimit where clients can be slow.
const tightLimit = 64 << 10

var stressUsers = []string{"ann", "bob", "cat"}

// drawStory draws the story of a seed.
func drawStory(seed uint64) *story {
	r := drawing{rand.New(rand.NewPCG(seed, 0))}
	s := &story{seed: seed, secure: r.chance(2), workers: 4 * r.IntN(2), relogon: usermgr.RelogonMode(r.IntN(2)),
		returnWins: r.chance(4), slow: engine.SlowPolicy(1 + r.IntN(4)), tight: r.chance(3), telling: r.upTo(2 * time.Millisecond)}
	s.policy = pick(r, []contract.Policy{{}, {}, {OnePerClass: true}, {Max: 1}, {Max: 2},
		{OnePerClass: true, Pairs: [][2]uint16{{1, 2}, {2, 3}}}})
	s.grace = pick(r, []time.Duration{0, 0, 5 * time.Millisecond, 50 * time.Millisecond})
	if r.chance(2) {
		s.deciding = r.upTo(3 * time.Millisecond)
	}
	if r.chance(4) {
		s.stopAfter = r.upTo(60 * time.Millisecond)
	}
	for range 3 + r.IntN(3) {
		var calls []call
		for range 1 + r.IntN(4) {
			calls = append(calls, r.call(s))
		}
		for i := range calls[1:] {
			if calls[i].end.how == byStaying { // only the last can wait for the others
				calls[i].end.how = byFIN
			}
		}
		s.clients = append(s.clients, calls)
	}
	for range r.IntN(12) {
		s.deeds = append(s.deeds, r.deed())
	}
	return s
}

type drawing struct{ *rand.Rand }

// chance is true once in n times.
func (r drawing) chance(n int) bool { return r.IntN(n) == 0 }

// upTo returns a time, of which short ones are as likely as long ones.
func (r drawing) upTo(d time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(d)))>>r.IntN(6) + time.Microsecond
}

func pick[T any](r drawing, from []T) T { return from[r.IntN(len(from))] }

func (r drawing) call(s *story) call {
	v := call{user: pick(r, stressUsers), device: uint16(r.IntN(4)), together: r.chance(2), waits: r.chance(2)}
	if r.chance(3) {
		v.back = 1 + r.IntN(3)
	}
	if r.chance(2) {
		v.buffer = 4 << 10
	}
	if r.chance(2) {
		v.late = r.upTo(20 * time.Millisecond)
	}
	for range r.IntN(4) {
		v.volleys = append(v.volleys, r.volley(s))
	}
	if r.chance(3) {
		v.linger = r.upTo(10 * time.Millisecond)
	}
	v.end = ending{how: manner(r.IntN(int(byStaying) + 1)), closes: r.chance(3), begins: r.chance(8)}
	if v.end.closes {
		v.end.begins = false
	}
	if !s.secure && (v.end.how == byNotice || v.end.how == byFINBeneath) {
		v.end.how = byFIN
	}
	return v
}

func (r drawing) volley(s *story) volley {
	var b volley
	if r.chance(2) {
		b.pause = r.upTo(10 * time.Millisecond)
	}
	large := r.chance(3)
	for range 1 + r.IntN(20) {
		a := question{size: r.IntN(100)}
		if r.chance(4) {
			a.takes = uint8(r.IntN(20))
		}
		if large {
			a.size = r.IntN(40 << 10)
		}
		b.questions = append(b.questions, a)
	}
	if large && !s.tight && r.chance(3) { // more than the sockets' buffers hold
		b.questions[0].size = 300<<10 + r.IntN(600<<10)
	}
	return b
}

func (r drawing) deed() deed {
	d := deed{pause: r.upTo(15 * time.Millisecond), user: pick(r, stressUsers), device: uint16(r.IntN(4)), times: 1 + r.IntN(20),
		size: r.IntN(200), do: pick(r, []doing{kickUser, kickUser, kickDevice, kickSession, unregister, pushes, pushes, pushes, pushes,
			pushes, broadcasts, broadcasts, asksClients, asksClients, clears})}
	if r.chance(4) {
		d.revoke = r.upTo(40 * time.Millisecond)
	}
	if r.chance(4) {
		d.size = r.IntN(20 << 10)
	}
	return d
}

func (s *story) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("seed %d: TLS %v, %d workers, relogon mode %d, policy %+v, grace %v, return wins %v", s.seed, s.secure, s.workers, s.relogon,
		s.policy, s.grace, s.returnWins)
	line("  slow policy %d, tight %v, logons take %v, events %v, stops after %v", s.slow, s.tight, s.deciding, s.telling, s.stopAfter)
	for i, calls := range s.clients {
		line("  client %d:", i)
		for _, v := range calls {
			line("    %v", v)
		}
	}
	for _, d := range s.deeds {
		line("  after %v %s %s: device %d, revoke for %v, %d of %d bytes", d.pause, d.do, d.user, d.device, d.revoke, d.times, d.size)
	}
	return b.String()
}

func (v call) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, device %d, back with %d, buffer %d, together %v, waits %v, reads %v late", v.user, v.device, v.back, v.buffer,
		v.together, v.waits, v.late)
	for _, u := range v.volleys {
		bytes, takes := 0, 0
		for _, a := range u.questions {
			bytes += a.size
			takes += int(a.takes)
		}
		fmt.Fprintf(&b, "; %v: %d requests, answers of %d bytes in all, within %v", u.pause, len(u.questions), bytes, time.Duration(takes)*takesUnit)
	}
	fmt.Fprintf(&b, "; %v: %v", v.linger, v.end)
	return b.String()
}

func (e ending) String() string {
	how := [...]string{"ends its side", "says close_notify", "a FIN beneath TLS", "closes", "resets", "stays"}[e.how]
	switch {
	case e.closes:
		return "a Close frame, " + how
	case e.begins:
		return "the beginning of a frame, " + how
	}
	return how
}
