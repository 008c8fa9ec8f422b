package mesh

import (
	"context"
	"encoding/binary"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// link is a connection that another node has made. Only the engine's event loop uses it.
type link struct {
	handshake
	conn   *engine.Conn
	stage  stage
	giveUp *time.Timer // ends a link that proves nothing
}

// stage says how far a link is.
type stage uint8

const (
	stranger stage = iota // typeOpen is expected
	opened                // typeProve is expected
	proven                // frames come
	ended                 // the dialler has a later connection, or was refused: what comes on this one is dropped
)

// linkKey is the key of a connection's link.
type linkKey struct{}

func (m *Mesh) setHandlers() {
	m.engine.SetAdmission(admission{m})
	m.engine.Handle(typeOpen, m.onOpen)
	m.engine.Handle(typeProve, m.onProve)
	m.engine.Handle(typeFrames, m.onFrames)
}

// admission lets connections in that then prove what they are.
type admission struct{ *Mesh }

// First is called with a connection's first message, on the event loop.
func (m admission) First(k engine.Control, first *protocol.Message) engine.Binding {
	if first.Type != protocol.TypeLogon || first.UserID == "" {
		k.Refuse(nil, protocol.Errorf(protocol.InvalidMessage, "a node of a cluster was expected"))
		return nil
	}
	l := &link{conn: k.Conn(), handshake: handshake{secret: m.cfg.Secret, dialler: first.UserID, listener: m.addr}}
	l.conn.SetValue(linkKey{}, l)
	l.giveUp = time.AfterFunc(m.cfg.silence, func() { l.conn.Close(protocol.LogonTimeout) })
	k.WhenClosed(func(protocol.CloseOutcome) {
		l.giveUp.Stop()
		if m.links[l.dialler] == l {
			delete(m.links, l.dialler)
		}
	})
	body, _ := system.AppendLogonReply(nil, map[string]string{ // it has no error: the texts are short
		protocol.FieldHeartbeatMS: strconv.FormatInt(beat.Milliseconds(), 10),
		system.FieldMaxBody:       strconv.Itoa(m.cfg.maxBody()),
	})
	k.Admit(&engine.Admitted{UserID: first.UserID, Reply: &protocol.Message{
		Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: first.ID, DestUserID: first.UserID, Body: body,
	}})
	return nil
}

// Addressed is called for messages to users, which nodes do not send.
func (admission) Addressed(*engine.Conn, *protocol.Message) (bool, error) {
	return true, protocol.Refused
}

// Drain has nothing to wait for.
func (admission) Drain(context.Context) int { return 0 }

func linkOf(c *engine.Conn) *link {
	l, _ := c.Value(linkKey{}).(*link)
	return l
}

// onOpen answers the dialler's random number with one of the listener, and with the listener's proof.
func (m *Mesh) onOpen(c *engine.Conn, msg *protocol.Message) error {
	l := linkOf(c)
	if l.stage != stranger || len(msg.Body) < openSize {
		return l.refuse(protocol.InvalidMessage)
	}
	l.stage = opened
	copy(l.dialled[:], msg.Body[1:])
	l.listens = newNonce()
	body := make([]byte, 0, openedSize)
	body = append(body, version)
	body = append(body, l.listens[:]...)
	return c.Reply(msg, append(body, l.proof("listener")...))
}

// onProve checks the dialler's proof. From then on its frames come on this connection, and on no earlier one.
func (m *Mesh) onProve(c *engine.Conn, msg *protocol.Message) error {
	l := linkOf(c)
	if l.stage != opened || !l.proves("dialler", msg.Body) {
		m.log.Warn("a connection to the mesh has not proved that it is of the cluster", zap.String("from", c.RemoteAddr().String()))
		return l.refuse(protocol.Unauthorized)
	}
	l.giveUp.Stop()
	l.stage = proven
	if former := m.links[l.dialler]; former != nil {
		_ = former.refuse(protocol.PushedOut)
	}
	m.links[l.dialler] = l
	return c.Reply(msg, nil)
}

// onFrames delivers frames.
func (m *Mesh) onFrames(c *engine.Conn, msg *protocol.Message) error {
	l := linkOf(c)
	if l.stage == ended {
		return nil
	}
	if l.stage != proven {
		return l.refuse(protocol.Unauthorized)
	}
	for b := msg.Body; len(b) > 0; {
		if len(b) < frameHead || uint64(len(b)-frameHead) < uint64(binary.BigEndian.Uint32(b[4:])) {
			return l.refuse(protocol.InvalidMessage)
		}
		to, end := cluster.Incarnation(binary.BigEndian.Uint32(b)), frameHead+int(binary.BigEndian.Uint32(b[4:]))
		m.figures.received.Add(1)
		if in := (*m.open.Load())[to]; in != nil {
			in.deliver(b[frameHead:end])
		}
		b = b[end:]
	}
	return nil
}

// refuse ends the link. It returns nil, as a handler does.
func (l *link) refuse(code protocol.CloseCode) error {
	l.stage = ended
	l.conn.Close(code)
	return nil
}
