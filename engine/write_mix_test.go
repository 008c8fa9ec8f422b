package engine_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// stamped is a body of n bytes, all of which follow from its source and number.
func stamped(source, number, n int) []byte {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(source)), uint32(number))
	head = binary.BigEndian.AppendUint32(head, uint32(max(n, 12)))
	return bytes.Repeat(head, n/12+1)[:max(n, 12)]
}

// Message types of a write mix. Their sources have the same numbers, and those that follow.
const (
	mixReply     = 100
	mixMessage   = 200
	mixBroadcast = 300
)

// mixClient is a client of a write mix.
type mixClient struct {
	*peer
	*binding
	name string
	slow bool
}

// What goes out arrives whole, once and in the order of its source, as testdata/write_mix.txt has it.
func TestWhatGoesOutArrivesWholeAndInOrder(t *testing.T) {
	st := &stage{t: t}
	var lengths []int
	var clients []*mixClient
	prepare := func(e *engine.Engine) {
		st.gate = newGate(t, e)
		e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
			if len(m.Body) == 0 {
				return c.Reply(m, nil)
			}
			number := int(binary.BigEndian.Uint32(m.Body))
			return c.Reply(m, stamped(mixReply, number, lengths[number%len(lengths)]))
		})
	}
	send := func(source, rounds int) {
		for n := range rounds {
			length := lengths[(n+source)%len(lengths)]
			all := &protocol.Message{Type: mixBroadcast, Body: stamped(mixBroadcast+source, n, length)}
			if k, err := st.Broadcast(st.Conns(), all, nil); k != len(clients) || err != nil {
				t.Errorf("Broadcast returned %d, %v", k, err)
			}
			for _, c := range clients {
				if err := c.conn.Send(mixMessage, stamped(mixMessage+source, n, length%5000)); err != nil {
					t.Error(err)
				}
			}
		}
	}
	runScript(t, "write_mix.txt", verbs{
		"engine": func(s step) string { st.open(s, prepare); return "" },
		"lengths": func(s step) string {
			for i := range s[1:] {
				lengths = append(lengths, s.number(1+i))
			}
			return ""
		},
		"clients": func(s step) string {
			for i, kind := range s[1:] {
				p, b := st.enter(kind)
				p.read() // the reply to the first message
				clients = append(clients, &mixClient{p, b, fmt.Sprint(i+1, " ", kind), kind == "slow"})
			}
			return ""
		},
		"traffic": func(s step) string {
			sources, rounds := number(s.value("sources")), number(s.value("rounds"))
			got := make([]string, len(clients))
			var wg sync.WaitGroup
			for source := range sources {
				wg.Go(func() { send(source, rounds) })
			}
			for i, c := range clients {
				wg.Go(func() { c.ask(t, rounds) })
				wg.Go(func() { got[i] = c.hear(t, sources, rounds) })
			}
			wg.Wait()
			return strings.Join(got, "\n")
		},
		"counts": func(s step) string {
			sent, others := number(s.value("sent")), "none"
			for _, c := range clients {
				eventually(t, "the count of "+c.name, func() bool { return c.sent.Load() == int64(sent) })
				if n := c.dropped.Load(); n != 0 {
					others = fmt.Sprintf("%d of %s", n, c.name)
				}
			}
			eventually(t, "nothing waits", func() bool { return st.Stats().OutboundQueue == 0 })
			return fmt.Sprintf("each client: %d sent, %s dropped\nnothing waits", sent, others)
		},
	})
}

// ask sends numbered requests.
func (c *mixClient) ask(t *testing.T, rounds int) {
	for n := range rounds {
		m := protocol.Message{Type: 1, ID: uint32(n + 1), Body: binary.BigEndian.AppendUint32(nil, uint32(n))}
		f, _ := protocol.Binary.Append(nil, &m)
		if _, err := c.Write(f); err != nil {
			t.Error(err)
			return
		}
	}
}

// hear reads what the sources send and the replies, wants each message whole and in the order of its source, and says what
// came.
func (c *mixClient) hear(t *testing.T, sources, rounds int) string {
	next := make(map[int]int) // number by source
	for got := 1; got <= rounds*(2*sources+1); got++ {
		m, err := c.next()
		if err != nil {
			t.Errorf("%s after %d messages: %v", c.name, got-1, err)
			break
		}
		source, number, n := int(binary.BigEndian.Uint32(m.Body)), int(binary.BigEndian.Uint32(m.Body[4:])), int(binary.BigEndian.Uint32(m.Body[8:]))
		if number != next[source] || n != len(m.Body) || !bytes.Equal(m.Body, stamped(source, number, n)) {
			t.Errorf("%s: message %d of source %d, %d bytes, is not message %d whole", c.name, number, source, len(m.Body), next[source])
			break
		}
		next[source]++
		if c.slow && got%20 == 0 {
			time.Sleep(time.Millisecond) // it reads slowly
		}
	}
	each := func(first int) string {
		for source := range sources {
			if n := next[first+source]; n != rounds {
				return fmt.Sprintf("%d of source %d, not %d", n, source, rounds)
			}
		}
		return fmt.Sprintf("%d*%d", sources, rounds)
	}
	return fmt.Sprintf("%s: %d replies, %s broadcasts, %s messages", c.name, next[mixReply], each(mixBroadcast), each(mixMessage))
}
