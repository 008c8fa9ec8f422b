package engine_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// What is sent to a connection that has ended never reaches the one that has its descriptor now, as
// testdata/descriptor_reuse.txt has it.
func TestASendAfterTheEndNeverReachesAnotherPeer(t *testing.T) {
	st := &stage{t: t}
	prepare := func(e *engine.Engine) {
		e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
			return c.Reply(m, binary.BigEndian.AppendUint64(nil, c.ID()))
		})
	}
	known := &knownConns{}
	sending, endSending := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	var taken, refused atomic.Int64
	send := func(n, newest int) {
		for ; sending.Err() == nil; n += 7 {
			c := known.recent(n, newest)
			runtime.Gosched()
			if c == nil {
				continue
			}
			switch err := sendOwnID(st.Engine, c, n%2 == 0); {
			case err == nil:
				taken.Add(1)
			case errors.Is(err, engine.ErrClosed):
				refused.Add(1)
			default:
				t.Errorf("Send: %v", err)
			}
		}
	}
	leave := map[string]func(p *peer, id uint64){
		"resets": func(p *peer, _ uint64) { p.reset() },
		"closes": func(p *peer, _ uint64) { _ = p.Close() },
		"is-kicked": func(p *peer, id uint64) {
			if c := st.Conn(id); c != nil {
				c.Close(protocol.KickedOut)
			}
			_ = p.Close()
		},
	}
	var peers []*peer // those of this generation, and their connections' IDs
	var ids []uint64
	runScript(t, "descriptor_reuse.txt", verbs{
		"engine": func(s step) string { st.open(s, prepare); return "" },
		"senders": func(s step) string {
			for i := range s.number(1) {
				senders.Go(func() { send(i, number(s.value("newest"))) })
			}
			return ""
		},
		"connect": func(s step) string {
			peers, ids = nil, nil
			for range s.number(1) {
				p := dial(t, st.addr)
				p.send(protocol.Message{Type: 1, ID: 1})
				peers = append(peers, p)
			}
			return ""
		},
		"hear": func(s step) string {
			for i, p := range peers {
				own := binary.BigEndian.Uint64(p.read().Body) // the reply
				ids = append(ids, own)
				known.add(st.Conn(own))
				for n := 1; s[1] != "reply" && n < s.number(1); n++ {
					if id := binary.BigEndian.Uint64(p.read().Body); id != own {
						return fmt.Sprintf("client %d, on connection %d, got a message of connection %d", i, own, id)
					}
				}
			}
			return fmt.Sprint(len(ids), " heard what was theirs alone")
		},
		"leave": func(s step) string {
			for i, p := range peers {
				leave[s[1+i%(len(s)-1)]](p, ids[i])
			}
			return ""
		},
		"stop-senders": func(step) string {
			endSending()
			senders.Wait()
			return some(taken.Load()) + " sends were taken\n" + some(refused.Load()) + " sends were refused"
		},
	})
}

// knownConns are the connections that there ever were.
type knownConns struct {
	mu  sync.Mutex
	all []*engine.Conn
}

func (k *knownConns) add(c *engine.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, c)
}

// recent returns one of the newest connections, which n chooses, or nil where there is none yet.
func (k *knownConns) recent(n, newest int) *engine.Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	if newest = min(len(k.all), newest); newest == 0 {
		return nil
	}
	return k.all[len(k.all)-1-n%newest]
}

// sendOwnID sends a connection its ID.
func sendOwnID(e *engine.Engine, c *engine.Conn, byBroadcast bool) error {
	body := binary.BigEndian.AppendUint64(nil, c.ID())
	if !byBroadcast {
		return c.Send(2, body)
	}
	if n, err := e.Broadcast(slices.Values([]*engine.Conn{c}), &protocol.Message{Type: 2, Body: body}, nil); n == 0 {
		return cmp.Or(err, engine.ErrClosed)
	}
	return nil
}

// A connection that closes inside a handler's call, or while messages wait behind the handler, waits for the handler with all
// else, as testdata/write_fails.txt has it.
func TestAWriteThatFailsInsideAHandler(t *testing.T) {
	st := &stage{t: t}
	var events *eventLog
	var steps chan func(c *engine.Conn, m *protocol.Message) // of the handler
	prepare := func(e *engine.Engine) {
		log, todo := &eventLog{}, make(chan func(c *engine.Conn, m *protocol.Message))
		events, steps = log, todo
		st.gate = newGate(t, e)
		st.gate.panic = func(where string) { // it does not panic, and notes what is called
			if where == "Ended" {
				log.add("the end was told")
			}
		}
		e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
		e.Handle(2, func(c *engine.Conn, m *protocol.Message) error {
			log.add("the handler began")
			for open := true; open; {
				var f func(*engine.Conn, *protocol.Message)
				select {
				case f, open = <-todo:
				case <-t.Context().Done(): // the script has failed
					return nil
				}
				if open {
					f(c, m)
				}
			}
			log.add("the handler returned")
			return nil
		})
		e.Handle(3, func(*engine.Conn, *protocol.Message) error {
			log.add("the next message was delivered")
			return nil
		})
	}
	var client *peer
	runScript(t, "write_fails.txt", verbs{
		"engine": func(s step) string { st.open(s, prepare); return "" },
		"client": func(s step) string {
			switch s[1] {
			case "sends":
				client, _ = st.enter("fast")
				client.send(protocol.Message{Type: uint16(s.number(2)), ID: 1}, protocol.Message{Type: uint16(s.number(3))})
				eventually(t, "the handler", func() bool { return len(events.lines()) > 0 })
			case "resets":
				client.reset()
			case "is-gone":
				eventually(t, "the end", func() bool { return st.Stats().Conns.Open == 0 && len(events.lines()) >= 4 })
			}
			return ""
		},
		"handler": func(s step) string {
			log, came := events, ""
			switch s[1] {
			case "quiesces":
				steps <- func(c *engine.Conn, _ *protocol.Message) {
					engine.ControlOf(c).Quiesce(func() { log.add("the quiescing was done") })
				}
			case "replies":
				done := make(chan error)
				steps <- func(c *engine.Conn, m *protocol.Message) {
					var err error
					for range s.number(2) {
						err = c.Reply(m, make([]byte, number(s.value("length"))))
					}
					done <- err
				}
				switch err := <-done; {
				case err == nil:
					came = "all are accepted"
				case errors.Is(err, engine.ErrClosed):
					came = "the connection is closed"
				default:
					came = err.Error()
				}
			case "sends":
				steps <- func(c *engine.Conn, _ *protocol.Message) { _ = c.Send(1, nil) }
			case "returns":
				close(steps)
			}
			return came
		},
		"stop": func(step) string {
			if err := st.stop(t); err != nil {
				t.Error(err)
			}
			lines := events.lines()
			slices.Sort(lines[slices.Index(lines, "the handler returned")+1:])
			return strings.Join(lines, "\n")
		},
	})
}

// eventLog is what happened, in order.
type eventLog struct {
	mu  sync.Mutex
	all []string
}

func (l *eventLog) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

func (l *eventLog) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}
