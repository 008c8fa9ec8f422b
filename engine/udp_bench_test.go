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
// nothing else. An operation is a datagram there and back. The generator, in the same process, has one socket. It keeps 1,024 datagrams of a
// hundred sessions under way, so that there is always something to do, or sends 64 of one session and waits for all of them, which shows how
// soon an idle server wakes up.
func BenchmarkUDPEcho(b *testing.B) {
	for _, c := range []struct {
		name string
		load udpLoad
	}{
		{"a frame, 1024 under way", udpLoad{frames: 1, sessions: 100, underWay: 1024, ahead: true}},
		{"14 frames, 1024 under way", udpLoad{frames: 14, sessions: 100, underWay: 1024, ahead: true}},
		{"a frame, 64 and wait", udpLoad{frames: 1, sessions: 1, underWay: udpBatch}},
		{"14 frames, 64 and wait", udpLoad{frames: 14, sessions: 1, underWay: udpBatch}},
	} {
		b.Run("engine, "+c.name, func(b *testing.B) { c.load.echo(b, serveEngine(b)) })
		b.Run("by hand, "+c.name, func(b *testing.B) { c.load.echo(b, serveByHand(b)) })
	}
}

// udpLoad is what a generator sends: so many sessions, frames a datagram, and datagrams that wait for their echoes.
type udpLoad struct {
	frames, sessions, underWay int
	ahead                      bool // more are sent before all of those have come back
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

func (l udpLoad) echo(b *testing.B, addr string) {
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
	ids, numbers := make([]uint64, l.sessions), make([]uint32, l.sessions)
	for i := range ids {
		nonce := uint64(i + 7)
		proof := udpwire.Proof(one(udpwire.AppendHello(nil, nonce)))
		ids[i], _ = udpwire.Session(one(udpwire.AppendLogon(nil, nonce, proof, f)))
	}
	var body []byte
	for range l.frames {
		if body, err = protocol.Binary.Append(body, &protocol.Message{Type: 1, ID: 1, Body: make([]byte, 64)}); err != nil {
			b.Fatal(err)
		}
	}
	before := processTime()
	b.ResetTimer()
	sent, got := 0, 0
	for got < b.N {
		for (l.ahead || sent == got) && sent < b.N && sent-got <= l.underWay-udpBatch {
			for range min(udpBatch, b.N-sent) {
				i := sent % l.sessions
				out.end(append(udpwire.AppendData(out.begin(to, mine), ids[i], numbers[i]), body...))
				numbers[i]++
				sent++
			}
			out.flush()
		}
		_ = nc.SetReadDeadline(time.Now().Add(time.Second))
		all, err := in.read()
		if got += len(all); err != nil {
			b.Logf("%d datagrams were lost", sent-got)
			got = sent
		}
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
