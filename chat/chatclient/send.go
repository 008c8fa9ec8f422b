package chatclient

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// SendOptions are what Send does besides.
type SendOptions struct {
	// ID makes two Sends the same message, such as one of an earlier run of the program whose outcome it has not learnt: a message with an ID that
	// the user has used in the conversation is stored once. The content must be the same. The zero value means a new ID.
	ID uuid.UUID
	// Anonymous hides the sender from the readers. An anonymous message to a user stands in a conversation of that user's: its number is of use
	// for Recall alone, and OnMessage does not get it.
	Anonymous bool
}

// Sent is a message that is stored.
type Sent struct {
	ID   uuid.UUID
	Seq  uint64    // its number in the conversation
	Time time.Time // when it was stored
}

// mostSends is how many messages are sent at a time. Further Sends wait here: a server lets 64 requests of a user wait, of all sessions together,
// and has those that are too many come back later.
const mostSends = 32

// Send sends a message of a type of the application's, 0x0001 to 0xFEFF, and returns when it is stored. The content may be used again then.
//
// Send repeats the message, with the same ID, so that it is stored once: after a lost connection, when there is another one, and when the server
// answers TimedOut, NotStored, Busy, ServerStopping, or HandlerFailed with a time to come back, after the time that it asks for. So it may take as long as ctx
// lasts. The error is ctx's then; the message may be stored or not, and another Send with Sent.ID, which is set with an error too, finds out. Other refusals are returned as
// *protocol.CloseError: the message is not stored. Messages of several goroutines are stored in any order.
func (c *Client) Send(ctx context.Context, to Conversation, typ uint16, content []byte, o SendOptions) (Sent, error) {
	if o.ID == uuid.Nil {
		id, err := uuid.NewV7()
		if err != nil {
			return Sent{}, err
		}
		o.ID = id
	}
	f := to.fields()
	if o.Anonymous {
		f["anonymous"] = "1"
	}
	post := system.AppendPost(nil, o.ID, typ, content)
	for attempt := 0; ; attempt++ {
		onlines := c.countOnlines()
		sent, err := c.sendOnce(ctx, to, f, post, typ, content, o, onlines)
		if err == nil {
			return sent, nil
		}
		switch pause, again := mayRepeat(err, attempt); {
		case again:
			err = wait(ctx, pause)
		case isLost(err):
			err = c.nextOnline(ctx, onlines)
		}
		if err != nil {
			return Sent{ID: o.ID}, err
		}
	}
}

// sendOnce sends the message once, and tells the worker of its number: the server delivers no copy to the session that has sent it.
func (c *Client) sendOnce(ctx context.Context, to Conversation, f fields, post []byte, typ uint16, content []byte, o SendOptions, onlines int) (Sent, error) {
	select {
	case c.sends <- struct{}{}:
		defer func() { <-c.sends }()
	case <-ctx.Done():
		return Sent{}, ctx.Err()
	case <-c.ctx.Done():
		return Sent{}, client.ErrClosed
	}
	ticket := c.mail.begin(to)
	defer c.look(to, ticket)
	a, err := c.request(ctx, protocol.TypeChat, protocol.ChatSend, f, post)
	if err != nil {
		return Sent{}, err
	}
	sent := Sent{ID: o.ID, Seq: a.number("seq"), Time: a.time("time-ms")}
	switch {
	case sent.Seq == 0:
		return Sent{}, malformed(errors.New("a message without a number"))
	case o.Anonymous && to.Group == 0:
	case c.countOnlines() != onlines: // the store may have gone back meanwhile
		c.mail.putNumber(to, sent.Seq)
	default:
		m := &Message{to, protocol.StoredMessage{Seq: sent.Seq, ID: o.ID, Time: sent.Time, Anonymous: o.Anonymous, Type: typ, From: c.Conn().UserID()}}
		if o.Anonymous {
			m.From = ""
		}
		if len(content) > 0 {
			m.Content = slices.Clone(content)
		}
		c.putMessage(m)
	}
	return sent, nil
}

// Recall takes a message of the user's own back, within the time that the server allows, and returns the number of the recall, which OnMessage gets.
// To recall a message twice is to recall it once. Of o Anonymous counts alone: it says that the message was sent so.
func (c *Client) Recall(ctx context.Context, of Conversation, seq uint64, o SendOptions) (uint64, error) {
	f := of.fields()
	f["seq"] = decimal(seq)
	if o.Anonymous {
		f["anonymous"] = "1"
	}
	a, err := c.request(ctx, protocol.TypeChat, protocol.ChatRecall, f, nil)
	if err != nil {
		return 0, err
	}
	recall := a.number("seq")
	if recall > 0 && (of.Group != 0 || !o.Anonymous) {
		c.mail.putNumber(of, recall)
	}
	return recall, nil
}
