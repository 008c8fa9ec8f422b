package engine

import (
	"errors"
	"fmt"

	"github.com/rollcall-go/rollcall/protocol"
)

// ErrDropped is returned for a message that its SlowPolicy has dropped because the client does not keep up. The connection stays.
var ErrDropped = errors.New("rollcall: the message was dropped: the client does not keep up")

// SlowPolicy says what happens to messages for a client that does not keep up: more bytes wait for it than Limits.MaxOutbound allows, or
// it takes nothing for Timeouts.Write.
//
// Messages that were handed to the network are never dropped. Replies, requests and other messages with an ID, and the system's messages
// are never dropped either. To make room for such a message, other messages are dropped, the oldest first; when messages that are never
// dropped exceed the limit by themselves the connection closes with SlowConsumer. A push, and a message with an ID that is no reply, are
// dropped only by a policy of their own (SendOptions). Messages of optional packages (0xFF06 to 0xFF09) are never
// dropped: each says what has changed since the last one, so a client that missed one would be wrong from then on.
type SlowPolicy uint8

const (
	// SlowDefault means Config.SlowPolicy; in Config.SlowPolicy it means SlowClose.
	SlowDefault SlowPolicy = iota
	// SlowClose closes the connection with SlowConsumer.
	SlowClose
	// SlowDropNewest drops the message being sent when there is no room for it, or while the client takes nothing; the sender
	// gets ErrDropped.
	SlowDropNewest
	// SlowDropOldest drops the oldest waiting messages that may be dropped, until there is room. When dropping all of them would
	// not be enough it drops none, and the sender gets ErrDropped.
	SlowDropOldest
	// SlowLatest is SlowDropOldest with one waiting message for each key: a message replaces the waiting message of the same type
	// and key, also when there is room, and goes to the end of the queue.
	SlowLatest
)

// mustGo is the policy of a notice, which is queued however much waits.
const mustGo SlowPolicy = 255

// unknown is the error for an undefined policy. Without it the mistake would show only when a client is slow.
func (p SlowPolicy) unknown() error { return fmt.Errorf("rollcall: SlowPolicy %d is not defined", p) }

// SendOptions say how one message is sent. Nil is the zero value.
type SendOptions struct {
	// Policy says what happens when the client does not keep up. 0 means Config.SlowPolicy. With an undefined policy the call
	// returns an error and sends nothing.
	Policy SlowPolicy
	// Key distinguishes the messages of one type for SlowLatest. The empty key is a key too. While its message waits the key
	// counts towards Limits.MaxOutbound and Limits.MaxMemory.
	Key string
	// Report, when set, is called for each connection that the message was not queued for, with the error that Send would
	// return, on the caller's goroutine, without a lock. It may send.
	Report func(c *Conn, err error)
	// Unreliable says that the message may be lost, and is not to wait behind what was lost before it: the position of a player, say. It goes
	// to a client by datagram, encrypted, if the client has logged on over TLS, has asked for datagrams, and they get through: see
	// docs/contract.md, "Datagrams beside TLS". It may then overtake other messages, and be overtaken. Otherwise, and if the message is one of
	// the system's, or larger than a datagram, it is sent like any other. Policy and Key have no effect on what goes by datagram: more than
	// 64 KiB that wait for the connection's event loop are dropped, with ErrDropped.
	Unreliable bool
}

func (o *SendOptions) check() error {
	if o != nil && o.Policy > SlowLatest {
		return o.Policy.unknown()
	}
	return nil
}

func (o *SendOptions) report(c *Conn, err error) {
	if err != nil && o != nil && o.Report != nil {
		o.Report(c, err)
	}
}

// queueing has the queueing options of one message.
type queueing struct {
	Policy     SlowPolicy
	Key        string
	Unreliable bool
}

// sendMessage queues a message. r is the request that it makes, or nil.
func (c *Conn) sendMessage(m *protocol.Message, o queueing, r *request) error {
	if tooLarge(m, c.maxBody) {
		return errTooLarge
	}
	if own := c.ownCodec(); own != nil {
		return c.sendOwn(own, m, o, r)
	}
	if o.Unreliable {
		if sent, err := c.sendApart(m); sent {
			return err
		}
	}
	c.mu.Lock()
	if !c.stillGets(m) {
		c.mu.Unlock()
		return ErrClosed
	}
	c.open(r, m)
	err := c.enqueue(m, o)
	if err != nil {
		c.withdraw(r)
	}
	mark := err == nil && c.mark()
	c.mu.Unlock()
	if err == errOverLimit {
		c.overflow()
		return ErrClosed
	}
	if mark {
		c.loop.markOutput(c)
	}
	c.engine.keepWithinBudget()
	return err
}

// stillGets reports whether a message may be queued for the connection: half-closed, it gets replies only. c.mu is held on entry.
func (c *Conn) stillGets(m *protocol.Message) bool {
	state := c.state.Load()
	return state < stateHalfClosed || state == stateHalfClosed && m.IsReply()
}

// mayDrop reports whether a message may be thrown away once it is queued.
func (o queueing) mayDrop() bool { return o.Policy >= SlowDropNewest && o.Policy <= SlowLatest }

// keyCost returns the bytes that the message's key takes in the queue.
func (o queueing) keyCost() int {
	if o.Policy == SlowLatest {
		return len(o.Key)
	}
	return 0
}

// of returns the options that apply to m.
func (o *SendOptions) of(e *Engine, m *protocol.Message) queueing {
	q := queueing{Policy: e.cfg.SlowPolicy}
	explicit := o != nil && o.Policy != SlowDefault
	if o != nil {
		q.Key, q.Unreliable = o.Key, o.Unreliable && m.Type < protocol.FirstSystemType
	}
	if explicit {
		q.Policy = o.Policy
	}
	if !droppable(m, explicit) {
		q.Policy = SlowClose
	}
	return q
}
