//go:build linux

package soak

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// judge holds what all clients got against what was sent to them.
func (s *stress) judge() {
	for _, h := range s.guests {
		s.mu.Lock()
		f := s.fates[h.remote]
		s.mu.Unlock()
		for _, wrong := range s.wrongs(h, f) {
			s.trouble("%s", wrong)
			s.t.Log(s.describe(h))
		}
	}
	st := s.engine.Stats()
	if tried, taken, got := s.tried.Load(), s.taken.Load(), int64(st.Out.Messages+st.Dropped.Messages); got < taken || got > tried {
		s.trouble("rule 15: %d messages were to be sent, %d of them taken; %d count as sent and %d as dropped", tried, taken,
			st.Out.Messages, st.Dropped.Messages)
	}
	if st.HandlerPanics > 0 || st.OutboundQueue != 0 || st.InboundQueue != 0 {
		s.trouble("%d handlers panicked; %d bytes wait to be sent, and %d to be handled", st.HandlerPanics, st.OutboundQueue, st.InboundQueue)
	}
	if asked, answered := s.asked.Load(), s.answered.Load(); asked != answered {
		s.trouble("rule 14: %d requests to clients, %d of them came to an end", asked, answered)
	}
}

// got is what a client got, counted.
type got struct {
	letIn   bool
	refused protocol.CloseCode
	notice  protocol.CloseCode
	answers int
	traffic protocol.Traffic // but for upkeep
}

// describe tells what a client did, and what came of it.
func (s *stress) describe(h *heard) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := "without a session"
	if f := s.fates[h.remote]; f != nil {
		session = fmt.Sprintf("connection %d, whose session ended with %v (%d times), in %+v, out %+v, dropped %+v", f.conn, f.code, f.disconnected, f.final.In,
			f.final.Out, f.final.Dropped)
	}
	return fmt.Sprintf("%s, %v,\nsent %d requests of %d bytes, all taken: %v; got %v, then %d bytes of a frame and %v; %s", h.remote, *h.call, len(h.asked),
		h.sent, !h.cut, h.summary(), h.left, h.err, session)
}

func (h *heard) summary() string {
	g, wrong := h.read()
	return fmt.Sprintf("%+v (%d frames) %s", g, len(h.frames), wrong)
}

// read goes through the frames that came: the answer to the Logon, the answers in order, the notice last.
func (h *heard) read() (g got, wrong string) {
	last := uint32(0) // push
	for i, f := range h.frames {
		if g.notice != 0 {
			return g, fmt.Sprintf("rule 14: frame %d came after the notice: %+v", i, f.Message)
		}
		upkeep := false
		switch {
		case f.Type == protocol.TypeClose:
			ce, err := protocol.ParseClose(f.Body)
			if err != nil {
				return g, fmt.Sprintf("a notice cannot be read: %v", err)
			}
			g.notice, upkeep = ce.Code, true
		case f.Type == protocol.TypeLogon && i == 0 && f.ID == 1 && f.Flags == protocol.FlagReply:
			g.letIn, upkeep = true, true
		case f.Type == protocol.TypeLogon && i == 0 && f.ID == 1 && f.Flags == protocol.FlagReply|protocol.FlagError:
			ce, err := protocol.ParseClose(f.Body)
			if err != nil {
				return g, fmt.Sprintf("a refusal cannot be read: %v", err)
			}
			g.refused, upkeep = ce.Code, true
		case !g.letIn:
			return g, fmt.Sprintf("rule 13: frame %d came before the Logon was answered: %+v", i, f.Message)
		case f.Type == echo && f.Flags == protocol.FlagReply:
			want := uint32(2 + g.answers)
			if f.ID != want {
				return g, fmt.Sprintf("rule 14: frame %d is the answer to %d, and %d has none", i, f.ID, want)
			}
			if g.answers >= len(h.asked) && !h.cut {
				return g, fmt.Sprintf("frame %d is the answer to %d, which was not asked", i, f.ID)
			}
			if g.answers < len(h.asked) && len(f.Body) != h.asked[g.answers].size {
				return g, fmt.Sprintf("rule 14: the answer to %d has %d bytes, not %d", f.ID, len(f.Body), h.asked[g.answers].size)
			}
			g.answers++
		case f.Type == push:
			n := binary.BigEndian.Uint32(f.Body)
			if n <= last {
				return g, fmt.Sprintf("rule 15: push %d came after %d", n, last)
			}
			last = n
		case f.Type == note:
		default:
			return g, fmt.Sprintf("frame %d is no answer and no push: %+v", i, f.Message)
		}
		if !upkeep {
			g.traffic.Messages++
			g.traffic.Bytes += uint64(f.size)
		}
	}
	return g, ""
}

// wrongs says what is wrong with what came of a connection.
func (s *stress) wrongs(h *heard, f *fate) (all []string) {
	wrong := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	g, broken := h.read()
	if broken != "" {
		return []string{broken}
	}
	if f != nil && f.disconnected != 1 {
		wrong("rule 3: Disconnected came %d times", f.disconnected)
	}
	if g.letIn && f == nil {
		wrong("rule 3: the client was let in without Connected")
	}
	how := h.call.end.how
	if how == byClosing || how == byReset || s.story.stopAfter > 0 && len(h.frames) == 0 { // what reached it is all that is known
		return all
	}
	if h.err != io.EOF || h.left > 0 {
		wrong("rule 14: the end of the stream is not clean")
		return all
	}
	switch {
	case g.refused != 0 && g.notice != g.refused:
		wrong("rule 13: it was refused with %v, and told %v", g.refused, g.notice)
	case g.refused != 0 && (f != nil || g.answers > 0):
		wrong("rule 3: it was refused, and has a session or answers")
	case g.refused == 0 && g.notice == 0 && !g.letIn:
		wrong("rule 14: the Logon was not answered")
	case g.refused == 0 && g.notice == 0 && (h.cut || g.answers != len(h.asked)):
		wrong("rule 14: not all requests were answered, and no notice says why")
	}
	if f == nil || g.refused != 0 {
		return all
	}
	if g.notice != 0 && g.notice != f.code && g.notice != protocol.SlowConsumer && g.notice != protocol.ServerStopping {
		wrong("rule 3: it was told %v", g.notice)
	}
	if g.notice == 0 && f.code == protocol.NetworkError && !h.call.end.begins {
		wrong("rule 14: its end is taken for a broken network")
	}
	// Messages are lost besides to a client that was never let in, and where a push takes the place of one that waits.
	keeps := g.letIn && s.story.slow != engine.SlowLatest
	if !s.story.tight && (f.code == protocol.SlowConsumer || g.notice == protocol.SlowConsumer || f.final.Dropped.Messages > 0 && keeps) {
		wrong("rule 15: it is taken for slow")
	}
	s.counted(h, f, &g, wrong)
	return all
}

// counted holds the session's counters against what came: what its end did not cut short is counted to the last byte.
func (s *stress) counted(h *heard, f *fate, g *got, wrong func(string, ...any)) {
	out, in := f.final.Out, f.final.In
	switch {
	case g.notice == 0:
		if out.Messages != g.traffic.Messages || out.Bytes != g.traffic.Bytes {
			wrong("rule 12: %+v are counted, %+v came", out, g.traffic)
		}
		if in.Messages != uint64(len(h.asked)) || in.Bytes != uint64(h.sent) {
			wrong("rule 12: %+v are counted in, %d messages of %d bytes were sent", in, len(h.asked), h.sent)
		}
	case out.Messages > g.traffic.Messages || out.Bytes > g.traffic.Bytes: // what came after Disconnected counts for the engine alone
		wrong("rule 12: %+v are counted, only %+v came", out, g.traffic)
	case out.Messages < uint64(g.answers):
		wrong("rule 12: %d answers came, %d messages are counted", g.answers, out.Messages)
	case in.Messages < uint64(g.answers), !h.cut && in.Messages > uint64(len(h.asked)):
		wrong("rule 12: %+v are counted in, %d of %d requests were answered", in, g.answers, len(h.asked))
	}
}
