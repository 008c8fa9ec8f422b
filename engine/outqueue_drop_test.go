package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// fullConn is a recordingConn whose socket may be full. It forgets the first bytes that it takes then.
type fullConn struct {
	recordingConn
	full bool
	skip int
}

func (c *fullConn) Write(p []byte) (int, error) {
	if c.full {
		return 0, nil
	}
	n := min(c.skip, len(p))
	c.skip -= n
	_, _ = c.recordingConn.Write(p[n:])
	return len(p), nil
}

// fill lets the connection have a backlog of n bytes that are no message's.
func (c *fullConn) fill(conn *Conn, n int) {
	if n > 0 {
		c.full, c.skip = true, n
		conn.keep(make([]byte, n), nil, nil)
	}
}

// modelled is what a queue should be: slow, and as simple as can be.
type modelled struct {
	frames  []modelFrame
	limit   int
	unsent  int
	dropped int
}

type modelFrame struct {
	number, size int
	droppable    bool
	key          string // of a SlowLatest frame
}

func (m *modelled) waits() (all, droppable int) {
	for _, f := range m.frames {
		all += f.size
		if f.droppable {
			droppable += f.size
		}
	}
	return all, droppable
}

// put returns whether the frame is on its way.
func (m *modelled) put(f modelFrame, policy SlowPolicy) bool {
	all, droppable := m.waits()
	over := all + f.size + m.unsent - m.limit
	if over > 0 && (policy == SlowDropNewest || over > droppable) {
		if policy != SlowClose {
			m.dropped++
		}
		return false
	}
	if policy == SlowLatest {
		if i := slices.IndexFunc(m.frames, func(g modelFrame) bool { return g.key == f.key }); i >= 0 {
			over -= m.frames[i].size
			m.frames = slices.Delete(m.frames, i, i+1)
			m.dropped++
		}
	}
	for over > 0 {
		i := slices.IndexFunc(m.frames, func(g modelFrame) bool { return g.droppable })
		over -= m.frames[i].size
		m.frames = slices.Delete(m.frames, i, i+1)
		m.dropped++
	}
	m.frames = append(m.frames, f)
	return true
}

// Whatever is sent under whatever policies, while the peer takes nothing or something, the queue holds what a simple list
// would, in its order, and all is counted as sent or as dropped.
func TestAQueueOfAllPoliciesIsWhatASimpleListWouldBe(t *testing.T) {
	seeds := uint64(45)
	if testkit.Raced {
		seeds = 9
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 1))
		limit := []int{2_000, 30_000, 300_000}[seed%3]
		e := testkit.Must(New(Config{Limits: Limits{MaxOutbound: limit}, Timeouts: Timeouts{Write: -1}}))
		l := &loop{engine: e, woken: true} // no wake-up is needed: the test is the loop, too
		l.attention.armed = time.Now().Add(-time.Hour)
		gc := &fullConn{}
		bound := &memoryBinding{}
		c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: l, binding: bound, userBound: true}
		c.state.Store(stateBound)
		model := &modelled{limit: limit}
		var want []int
		accepted, refused := 0, 0
		for number := range 2000 {
			policy := SlowPolicy(1 + rnd.IntN(4))
			size := 4 + rnd.IntN(min(limit/10, 3000))
			body := binary.BigEndian.AppendUint32(nil, uint32(number))
			body = append(body, bytes.Repeat([]byte{byte(number)}, size-4)...)
			f := modelFrame{number: number, size: layout.HeaderLen + size}
			o := SendOptions{Policy: policy, Key: fmt.Sprint(rnd.IntN(5))}
			m := &protocol.Message{Type: uint16(1 + rnd.IntN(2)), Body: body}
			if policy == SlowClose {
				all, droppable := model.waits()
				if all+f.size+model.unsent-limit > droppable { // it would close the connection
					continue
				}
			} else {
				f.droppable = true
			}
			if policy == SlowLatest {
				f.key = fmt.Sprint(m.Type, o.Key)
				f.size += len(o.Key) // is kept as long as the frame
			}
			var err error
			switch broadcast := rnd.IntN(3) == 0; {
			case broadcast:
				if n, _ := e.Broadcast(slices.Values([]*Conn{c}), m, &o); n == 0 {
					err = ErrDropped
				}
			case policy == SlowClose:
				err = c.Send(m.Type, body)
			default:
				err = c.SendMessage(m, &o)
			}
			if err != nil && !errors.Is(err, ErrDropped) {
				t.Fatal(err)
			}
			if ok := model.put(f, policy); ok != (err == nil) {
				t.Fatalf("seed %d: message %d, policy %d: %v, and the list says %t", seed, number, policy, err, ok)
			}
			if err == nil {
				accepted++
			} else {
				refused++
			}
			if c.out != nil && c.out.waits()+int(c.unsent) > limit || c.out != nil && len(c.out.b) > 2*limit+8<<10 {
				t.Fatalf("seed %d: %d bytes wait in %d; the limit is %d", seed, c.out.waits(), len(c.out.b), limit)
			}
			if rnd.IntN(50) == 0 { // the peer takes what there was, and is stuck again
				gc.full = false
				runAll(l)
				c.flush()
				for _, f := range model.frames {
					want = append(want, f.number)
				}
				model.frames = model.frames[:0]
				model.unsent = rnd.IntN(limit / 2)
				gc.fill(c, model.unsent)
			}
		}
		gc.full = false
		runAll(l)
		c.flush()
		for _, f := range model.frames {
			want = append(want, f.number)
		}
		var got []int
		for m := (protocol.Message{}); len(gc.written) > 0; {
			n, _, err := protocol.Binary.Decode(gc.written, &m, protocol.DecodeOptions{})
			if n == 0 || err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			number := int(binary.BigEndian.Uint32(m.Body))
			if bytes.Count(m.Body[4:], []byte{byte(number)}) != len(m.Body)-4 {
				t.Fatalf("seed %d: message %d is damaged", seed, number)
			}
			got, gc.written = append(got, number), gc.written[n:]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d messages went out, others than the list's %d", seed, len(got), len(want))
		}
		if d := c.lazy.drops.untold.messages; d != model.dropped || bound.sent != len(got) || bound.sent+d != accepted+refused {
			t.Fatalf("seed %d: %d sent, %d dropped of %d; the list dropped %d", seed, bound.sent, d, accepted+refused, model.dropped)
		}
	}
}
