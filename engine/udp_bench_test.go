//go:build linux

package engine

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// admitAll lets every client in at once.
type admitAll struct{}

func (admitAll) First(k Control, m *protocol.Message) Binding {
	k.Admit(&Admitted{UserID: m.UserID, Deliver: m.Clone()})
	return noBinding{}
}

func (admitAll) Addressed(*Conn, *protocol.Message) (bool, error) { return false, nil }
func (admitAll) Drain(context.Context) int                        { return 0 }

// BenchmarkUDPEcho compares an echo server on an engine with one by hand, which sends back what comes with the same system calls and
// nothing else. An operation is a datagram there and back; the generator, in the same process, keeps 64 under way from one socket.
func BenchmarkUDPEcho(b *testing.B) {
	for name, frames := range map[string]int{"a frame": 1, "14 frames": 14} {
		b.Run("engine, "+name, func(b *testing.B) { echoUDP(b, frames, serveEngine(b)) })
		b.Run("by hand, "+name, func(b *testing.B) { echoUDP(b, frames, serveByHand(b)) })
	}
}

func serveEngine(b *testing.B) (addr string) {
	e, err := New(Config{Listeners: []Listener{{Network: "udp", Addr: "127.0.0.1:0", Cleartext: true}}})
	if err != nil {
		b.Fatal(err)
	}
	e.SetAdmission(admitAll{})
	e.HandleDefault(func(c *Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	if err := e.Listen(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = e.Run(ctx)
	}()
	b.Cleanup(func() {
		for _, c := range e.conns.all() {
			c.loop.post(c.closeNow)
		}
		cancel()
		<-ended
	})
	return e.Addrs()[0].String()
}

func serveByHand(b *testing.B) (addr string) {
	nc, in, out := socketUDP(b)
	var over sync.WaitGroup
	over.Go(func() {
		hello := make([]byte, 0, udpwire.MaxDatagram)
		for {
			all, err := in.read()
			if err != nil {
				return
			}
			for i := range all {
				d := &all[i]
				switch d.b[0] {
				case udpwire.Hello:
					out.end(udpwire.AppendCookie(out.begin(d.from, d.local), udpwire.ID(d.b), [udpwire.ProofSize]byte{}))
				case udpwire.Logon:
					out.end(udpwire.AppendWelcome(out.begin(d.from, d.local), udpwire.ID(d.b), 1, [udpwire.KeySize]byte{}, hello))
				default:
					out.end(append(out.begin(d.from, d.local), d.b...))
				}
			}
			out.flush()
		}
	})
	b.Cleanup(func() {
		_ = nc.Close()
		over.Wait()
	})
	return nc.LocalAddr().String()
}

// socketUDP returns a socket with its batches.
func socketUDP(b *testing.B) (*net.UDPConn, *udpIn, *udpOut) {
	pc, err := (&net.ListenConfig{Control: controlUDP(false)}).ListenPacket(context.Background(), "udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	nc := pc.(*net.UDPConn)
	_ = nc.SetReadBuffer(udpBuffer)
	in, err := newUDPIn(nc)
	if err != nil {
		b.Fatal(err)
	}
	return nc, in, newUDPOut(&udpReader{nc: nc})
}

func echoUDP(b *testing.B, frames int, addr string) {
	nc, in, out := socketUDP(b)
	defer nc.Close()
	server, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		b.Fatal(err)
	}
	to, mine := server.AddrPort(), netip.Addr{}
	_ = nc.SetReadDeadline(time.Now().Add(time.Hour))
	one := func(d []byte) []byte {
		out.end(append(out.begin(to, mine), d...))
		out.flush()
		all, err := in.read()
		if err != nil {
			b.Fatal(err)
		}
		return all[0].b
	}
	f, err := protocol.Binary.Append(nil, &protocol.Message{Type: 1, ID: 1, UserID: "ann", Body: make([]byte, 64)})
	if err != nil {
		b.Fatal(err)
	}
	proof := udpwire.Proof(one(udpwire.AppendHello(nil, 7)))
	id, _ := udpwire.Session(one(udpwire.AppendLogon(nil, 7, proof, f)))
	var body []byte
	for range frames {
		if body, err = protocol.Binary.Append(body, &protocol.Message{Type: 1, ID: 1, Body: make([]byte, 64)}); err != nil {
			b.Fatal(err)
		}
	}
	number, left := uint32(0), b.N
	before := processTime()
	b.ResetTimer()
	for left > 0 {
		n := min(left, udpBatch)
		for range n {
			out.end(append(udpwire.AppendData(out.begin(to, mine), id, number), body...))
			number++
		}
		out.flush()
		for got := 0; got < n; {
			_ = nc.SetReadDeadline(time.Now().Add(time.Second))
			all, err := in.read()
			if err != nil { // lost
				b.Logf("%d datagrams were lost", n-got)
				break
			}
			got += len(all)
		}
		left -= n
	}
	b.StopTimer()
	b.ReportMetric(float64(processTime()-before)/float64(b.N), "cpu-ns/op")
}

// processTime returns the processor time of this process.
func processTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
