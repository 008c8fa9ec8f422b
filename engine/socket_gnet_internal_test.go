package engine

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wsframe"
)

// unwrapper takes frames of WebSocket from a connection on gnet, in the memory that peek returns: one peek and one discard each time that
// gnet calls. Only the loop uses it, but for the channel.
type unwrapper struct {
	t      *testing.T
	random *rand.Rand
	reader wsframe.Reader
	want   []byte // payloads that are still to come
	last   []byte // bytes that the last call has left
	seen   int    // bytes that have come
	calls  chan int
	// memories counts what gnet had: new bytes alone (the loop's buffer), what was left (a ring), and both (a copy).
	memories map[string]int
}

func (u *unwrapper) take(s *gnetSocket) {
	raw := s.peek()
	fresh := len(raw) - len(u.last)
	if fresh < 0 || !bytes.Equal(raw[:len(u.last)], u.last) {
		u.t.Errorf("%d bytes were left, and are not the same any more: %d come", len(u.last), len(raw))
	}
	switch {
	case len(u.last) == 0:
		u.memories["the loop's buffer"]++
	case fresh == 0:
		u.memories["a ring"]++
	default:
		u.memories["a copy"]++
	}
	cut := len(raw)
	if u.random.IntN(3) > 0 {
		cut = u.random.IntN(len(raw) + 1)
	}
	var f wsframe.Found
	f.Reset()
	n, used, broken := u.reader.Unwrap(raw[:cut], &f)
	if broken != nil || n > len(u.want) || !bytes.Equal(raw[:n], u.want[:n]) {
		u.t.Errorf("%d bytes of %d are unwrapped, and wrong: %v", n, cut, broken)
	}
	u.want = u.want[min(n, len(u.want)):]
	u.last = bytes.Clone(raw[used:])
	for i := range used {
		raw[i] = 0xEE // the messages may be changed by handlers
	}
	s.discard(used)
	u.seen += fresh
	u.calls <- u.seen
}

type unwrappers struct{ gnet.BuiltinEventEngine }

func (*unwrappers) OnTraffic(gc gnet.Conn) gnet.Action {
	if u := gc.Context().(*unwrapper); gc.InboundBuffered() > 0 {
		u.take(&gnetSocket{gc})
	} else {
		u.calls <- u.seen
	}
	return gnet.None
}

// gnet: what Peek returns may be written to, as far as the next Discard takes it, whether it lies in the loop's buffer, in the connection's
// ring or in a copy of both: the rest is the same afterwards, and so is what other connections of the loop have left. Frames of
// WebSocket are unmasked there in place.
func TestWhatPeekReturnsMayBeWrittenTo(t *testing.T) {
	client := testkit.Must(gnet.NewClient(new(unwrappers), gnet.WithNumEventLoop(1), gnet.WithLogger(gnetLogger{zap.NewNop().Sugar()})))
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Stop() }()
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))
	defer func() { _ = ln.Close() }()
	type pair struct {
		*unwrapper
		ours net.Conn
		gc   gnet.Conn
		sent int
		raw  []byte
	}
	random := rand.New(rand.NewPCG(1, 2))
	memories := map[string]int{}
	pairs := make([]*pair, 3) // they take turns, so that each call has the loop's buffer after another's
	for i := range pairs {
		p := &pair{unwrapper: &unwrapper{t: t, random: rand.New(rand.NewPCG(3, uint64(i))), calls: make(chan int, 1000), memories: memories}}
		for len(p.raw) < 200_000 {
			payload := make([]byte, random.IntN(1<<random.IntN(13)))
			for j := range payload {
				payload[j] = byte(random.Uint32())
			}
			p.raw = wsframe.AppendMasked(p.raw, wsframe.Binary, payload, random.Uint32())
			p.want = append(p.want, payload...)
		}
		p.ours = testkit.Must(net.Dial("tcp", ln.Addr().String()))
		defer func() { _ = p.ours.Close() }()
		theirs := testkit.Must(ln.Accept())
		p.gc = testkit.Must(client.EnrollContext(theirs, p.unwrapper))
		pairs[i] = p
	}
	called := func(p *pair) {
		for deadline := time.After(testkit.Patience); ; {
			select {
			case seen := <-p.calls:
				if seen == p.sent {
					return
				}
			case <-deadline:
				t.Fatal("gnet does not call")
			}
		}
	}
	for busy := true; busy; {
		busy = false
		for _, p := range pairs {
			piece := p.raw[p.sent:min(len(p.raw), p.sent+1+random.IntN(1<<random.IntN(13)))]
			if len(piece) > 0 {
				busy = true
				testkit.Must(p.ours.Write(piece))
				p.sent += len(piece)
				called(p)
			}
			if random.IntN(2) == 0 {
				if err := p.gc.Wake(nil); err != nil {
					t.Fatal(err)
				}
				called(p)
			}
		}
	}
	for _, p := range pairs {
		for range 100 {
			if err := p.gc.Wake(nil); err != nil {
				t.Fatal(err)
			}
			called(p)
		}
		if len(p.want) > 0 {
			t.Errorf("%d bytes have not come", len(p.want))
		}
	}
	for _, memory := range []string{"the loop's buffer", "a ring", "a copy"} {
		if memories[memory] < 50 {
			t.Errorf("%s was looked at %d times", memory, memories[memory])
		}
	}
}
