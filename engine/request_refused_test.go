package engine_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// picky is protocol.Binary, but for a body that it does not encode.
type picky struct{ protocol.Codec }

func newPicky() protocol.Codec { return picky{protocol.Binary} }

func (p picky) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	if string(m.Body) == "refuse" {
		return dst, errors.New("refused")
	}
	return p.Codec.Append(dst, m)
}

// eachCodec runs a test with a codec that connections share, and with one of each connection's own.
func eachCodec(t *testing.T, test func(t *testing.T, l engine.Listener)) {
	t.Run("a shared codec", func(t *testing.T) { test(t, engine.Listener{Codec: newPicky()}) })
	t.Run("a codec of its own", func(t *testing.T) { test(t, engine.Listener{NewCodec: newPicky}) })
}

// A request for which RequestFunc returns an error is over: done is not called for it, neither by an answer nor by the end of the
// connection. The engine's policy drops no request: the connection of a client that does not read is closed.
func TestARequestThatIsRefusedIsOver(t *testing.T) {
	eachCodec(t, func(t *testing.T, l engine.Listener) {
		e := newQuiet(engine.Config{Listeners: []engine.Listener{l}, SlowPolicy: engine.SlowDropNewest,
			Limits: engine.Limits{MaxOutbound: 256 << 10}, Timeouts: engine.Timeouts{Close: 200 * time.Millisecond}})
		g := newGate(t, e)
		r := serve(t, e)
		_, b := g.enterSlow(t, r.addr)
		var taken, ended atomic.Int64
		ask := func(body string) error {
			err := b.conn.RequestFunc(2, []byte(body), -1, func(*protocol.Message, error) { ended.Add(1) })
			if err == nil {
				taken.Add(1)
			}
			return err
		}
		if err := ask("refuse"); err == nil {
			t.Error("a request that cannot be encoded was taken")
		}
		large := string(make([]byte, chunk))
		var err error
		for range 2 * slowBuffers / chunk {
			if err = ask(large); err != nil {
				break
			}
		}
		if !errors.Is(err, engine.ErrClosed) {
			t.Errorf("one request too many: %v", err)
		}
		b.wantEnd(t, protocol.SlowConsumer)
		if err := r.stop(t); err != nil {
			t.Fatal(err)
		}
		if ended.Load() != taken.Load() {
			t.Errorf("%d requests were taken, and %d have ended", taken.Load(), ended.Load())
		}
	})
}

// A request to a client that is not let in yet goes out after the answer to its Logon, and is answered or ends, as any other.
func TestARequestBeforeTheAnswerToALogon(t *testing.T) {
	eachCodec(t, func(t *testing.T, l engine.Listener) {
		for _, answered := range []bool{true, false} {
			e := newEngine(engine.Config{Listeners: []engine.Listener{l}})
			g := newGate(t, e)
			asked := make(chan *binding, 1)
			outcomes := make(chan error, 1)
			g.first = func(_ engine.Control, _ *protocol.Message, b *binding) {
				if err := b.conn.RequestFunc(2, nil, -1, func(_ *protocol.Message, err error) { outcomes <- err }); err != nil {
					t.Error(err)
				}
				asked <- b
			}
			r := serve(t, e)
			p := dial(t, r.addr)
			p.send(protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "ann"})
			b := receive(t, "a connection", asked)
			if !answered {
				b.conn.Close(nil)
				if err := receive(t, "the outcome", outcomes); !errors.Is(err, engine.ErrClosed) {
					t.Errorf("the request ended with %v", err)
				}
				continue
			}
			b.Admit(&engine.Admitted{UserID: "ann", Binding: b, Reply: &protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: 1}})
			if m := p.read(); m.Type != protocol.TypeLogon {
				t.Errorf("the first message is %v", m)
			}
			m := p.read()
			if m.Type != 2 || m.ID == 0 {
				t.Errorf("the request is %v", m)
			}
			p.send(reply(m, ""))
			if err := receive(t, "the outcome", outcomes); err != nil {
				t.Errorf("the request ended with %v", err)
			}
		}
	})
}
