package chatclient

import (
	"context"
	"fmt"
	"maps"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// worker calls the program, and knows the state of the conversations. Only its goroutine, run, uses its fields.
type worker struct {
	c     *Client
	ended bool // there is nothing more to do

	epoch  int                // counts the connections and their ends
	ctx    context.Context    // of the requests on this connection
	cancel context.CancelFunc // ends it
	watch  bool               // each connection watches

	watching int                   // Watches that are not answered
	held     [][]protocol.Presence // notices that have come meanwhile

	talks    map[Conversation]*talk
	touched  []*talk // whose state is to be looked at
	behind   []*talk // of which History is to be read
	fetching int     // of how many it is being read
	listed   bool    // this connection's list of conversations is there: messages may be handed out
	listErr  error   // the server has refused to list them
	lists    int     // how many lists there were
	caughtUp bool    // OnCaughtUp was called
	equal    []*talk // whose last number is the known one; nil when all of them are compared
}

func newWorker(c *Client) *worker {
	w := &worker{c: c, talks: make(map[Conversation]*talk), watch: c.cfg.Watch, cancel: func() {}}
	for of, m := range c.marks {
		w.talks[of] = &talk{Conversation: of, had: m, based: true}
	}
	return w
}

// listen adds the Client's handlers to the settings of the connection.
func (c *Client) listen(cc *client.Config) error {
	own := map[uint16]client.Handler{
		protocol.TypePresence: c.presenceCame,
		protocol.TypeContacts: c.contactCame,
		protocol.TypeGroup:    c.groupCame,
		protocol.TypeChat:     c.messageCame,
	}
	handle := make(map[uint16]client.Handler, len(own)+len(cc.Handle))
	maps.Copy(handle, cc.Handle)
	for typ, h := range own {
		if handle[typ] != nil {
			return fmt.Errorf("rollcall: a handler for message type 0x%04x, which is package chatclient's", typ)
		}
		handle[typ] = h
	}
	onState := cc.OnState
	cc.Handle = handle
	cc.OnState = func(conn *client.Client, s client.State, err error) {
		switch s {
		case client.Online:
			c.cameOnline(conn)
			c.mail.put(c.worker.online)
		case client.Reconnecting:
			c.mail.put(c.worker.offline)
		case client.Closed:
			c.cancel()
			c.mail.put(func() { c.worker.ended = true })
		}
		if onState != nil {
			onState(conn, s, err)
		}
	}
	return nil
}

// The handlers below run on the client.Client's goroutine, and leave the work to the worker. What they cannot read is dropped.

func (c *Client) presenceCame(_ *client.Client, m *protocol.Message) error {
	o, err := protocol.ParseOperation(m.Body)
	if err != nil || o.Op != protocol.PresenceNotice {
		return nil
	}
	if p, err := protocol.ParsePresences(o.Content); err == nil {
		c.mail.putNotice(overhead+len(m.Body), func() { c.worker.seen(p) })
	}
	return nil
}

func (c *Client) contactCame(_ *client.Client, m *protocol.Message) error {
	o, err := protocol.ParseOperation(m.Body)
	if err == nil && o.Op == protocol.ContactNotice && c.cfg.OnContact != nil {
		n := ContactNotice{Event: o.Fields["event"], User: o.Fields["user"], Text: o.Fields["text"]}
		c.mail.putNotice(overhead+len(m.Body), func() { c.worker.call(func() { c.cfg.OnContact(c, n) }) })
	}
	return nil
}

func (c *Client) groupCame(conn *client.Client, m *protocol.Message) error {
	o, err := protocol.ParseOperation(m.Body)
	if err != nil || o.Op != protocol.GroupNotice {
		return nil
	}
	a := answer{o}
	n := GroupNotice{Event: a.Fields["event"], Group: a.number("group"), User: a.Fields["user"], By: a.Fields["by"]}
	out := n.Event == "dissolved" || n.User == conn.UserID() && (n.Event == "left" || n.Event == "removed")
	c.mail.putNotice(overhead+len(m.Body), func() {
		if out {
			c.worker.left(ToGroup(n.Group))
		}
		if c.cfg.OnGroup != nil {
			c.worker.call(func() { c.cfg.OnGroup(c, n) })
		}
	})
	return nil
}

func (c *Client) messageCame(conn *client.Client, m *protocol.Message) error {
	o, err := protocol.ParseOperation(m.Body)
	if err != nil || o.Op != protocol.ChatMessage {
		return nil
	}
	stored, err := protocol.ParseStoredMessage(o.Content)
	if err != nil {
		return nil
	}
	a := answer{o}
	of := Conversation{Group: a.number("group"), With: a.Fields["from"]}
	if of.Group == 0 && of.With == conn.UserID() { // it was sent by another session of the user
		of.With = a.Fields["to"]
	}
	if of != (Conversation{}) {
		c.putMessage(&Message{of, stored})
	}
	return nil
}

// putMessage hands a live message to the worker.
func (c *Client) putMessage(m *Message) {
	size := overhead + len(m.Content)
	c.mail.putMessage(m.Conversation, m.Seq, size, func() { c.worker.live(m, size) })
}

// look has the worker look at a conversation again, because a request that brings a number of it is over.
func (c *Client) look(of Conversation, ticket uint64) {
	c.mail.ended(of, ticket, func() { c.worker.touch(c.worker.talk(of)) })
}

// run is the worker's goroutine.
func (w *worker) run() {
	c := w.c
	returned := false
	defer func() {
		if v := recover(); !returned { // a function of the program's has failed
			c.failed(v)
		}
		w.cancel()
		c.mail.end()
		c.cancel()
		c.jobs.Wait()
		close(c.done)
	}()
	for !w.ended {
		tasks, missed, more := c.mail.take()
		if !more {
			break
		}
		for _, do := range tasks {
			if do(); w.ended {
				break
			}
		}
		for of, s := range missed {
			t := w.talk(of)
			t.note(s)
			w.touch(t)
		}
		w.settle()
	}
	returned = true
}

// call calls a function of the program's. It returns false if none may be called any more.
func (w *worker) call(f func()) bool {
	if !w.c.mail.setCalling(true) {
		w.ended = true
		return false
	}
	defer w.c.mail.setCalling(false)
	f()
	return true
}

// job runs a request beside the worker. Then is called with its outcome on the worker, if the connection is still the same.
func job[T any](w *worker, request func(ctx context.Context) (T, error), then func(T, error)) {
	c, ctx, epoch := w.c, w.ctx, w.epoch
	c.jobs.Go(func() {
		var v T
		err := persist(ctx, func() (err error) {
			v, err = request(ctx)
			return err
		})
		c.mail.put(func() {
			if w.epoch == epoch {
				then(v, err)
			}
		})
	})
}

// offline is called when the connection is lost.
func (w *worker) offline() {
	w.cancel()
	w.epoch++
	w.listed = false
}

// online is called when there is a connection: its conversations are listed before messages are handed out.
func (w *worker) online() {
	w.offline()
	w.ctx, w.cancel = context.WithCancel(w.c.ctx)
	w.touched, w.behind, w.equal, w.fetching = nil, nil, nil, 0
	w.caughtUp, w.listErr = false, nil
	for _, t := range w.talks {
		w.forget(t)
	}
	for _, p := range w.held { // of the last connection
		w.see(p, false)
	}
	w.held, w.watching = nil, 0
	if w.watch {
		w.watching = 1
		job(w, func(ctx context.Context) ([]protocol.Presence, error) { return w.c.watch(ctx, true) }, func(all []protocol.Presence, err error) {
			w.watched(w.epoch, true, all, err)
		})
	}
	job(w, w.c.allConversations, w.list)
}

func (c *Client) allConversations(ctx context.Context) (all []protocol.ChatConversation, err error) {
	for cursor := ""; ; {
		page, next, err := c.Conversations(ctx, cursor, 0)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if next == "" || len(page) == 0 {
			return all, nil
		}
		cursor = next
	}
}

// watchBegins is called before a Watch is sent. Its answer comes by another way than notices do: those that come before the answer are held.
func (w *worker) watchBegins(on bool) (epoch int) {
	w.watch = on
	w.watching++
	return w.epoch
}

// watched is called when a Watch is answered.
func (w *worker) watched(epoch int, on bool, all []protocol.Presence, err error) {
	if epoch != w.epoch {
		return
	}
	if on && err == nil {
		w.see(all, true)
	}
	if w.watching--; w.watching > 0 {
		return
	}
	for _, p := range w.held {
		w.see(p, false)
	}
	w.held = nil
}

// seen is called for a notice.
func (w *worker) seen(p []protocol.Presence) {
	if w.watching > 0 {
		w.held = append(w.held, p)
		return
	}
	w.see(p, false)
}

func (w *worker) see(p []protocol.Presence, all bool) {
	if f := w.c.cfg.OnPresence; f != nil {
		w.call(func() { f(w.c, p, all) })
	}
}
