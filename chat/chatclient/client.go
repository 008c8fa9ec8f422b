package chatclient

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// Config holds the settings of a Client. Dial takes a copy.
//
// The functions, any of which may be nil, are called one at a time on a goroutine of the Client, the first ones perhaps before Dial has returned. They may block, and may call any
// method of the Client, Close included. What waits meanwhile is bounded: of further messages the Client keeps the numbers alone and reads them
// from History later. A function that panics, or calls runtime.Goexit, ends the Client; Err has the reason.
type Config struct {
	// OnMessage is called for each message of the user's conversations once, in the order of the numbers of a conversation, also when the
	// connection was lost in between. The user's own messages are among them, those that this Client has sent too, and the messages of
	// the reply to Join. A recall is a message as well: Recalls has the number of the message that has lost its content. OnMessage may keep m.
	//
	// Numbers follow each other without a gap, but where Client.Join or MaxCatchUp says so, or the server does not keep the messages any more.
	OnMessage func(c *Client, m *Message)
	// OnPresence is called while the Client watches. With all set it comes once for each connection, and has all contacts who are visible: the
	// others are offline. Otherwise p is what has changed. OnPresence may keep p.
	OnPresence func(c *Client, p []protocol.Presence, all bool)
	// OnContact is called for each notice about a request or a friendship.
	OnContact func(c *Client, n ContactNotice)
	// OnGroup is called for each notice about a group. Notices are not stored: what has happened while there was no connection is not told.
	OnGroup func(c *Client, n GroupNotice)
	// OnCaughtUp is called once for each connection, when OnMessage has had what was stored before the connection. err is nil, unless the server
	// has refused to list the conversations: then only conversations in which a message comes are caught up with.
	OnCaughtUp func(c *Client, err error)
	// OnReset is called when the server's store has gone back, to a backup or to a replica that was behind: the message that the Client had last
	// in a conversation is not there any more, or another one has its number. What the program has of the conversation is void. Its messages come again from the start, the
	// last MaxCatchUp of them.
	//
	// A conversation in which nothing is new by its last number is compared only if it is one of the 8 with the latest messages, by the times in
	// the messages' IDs, or if another conversation has shown that the store has gone back.
	OnReset func(c *Client, of Conversation)

	// Known says what the program has from an earlier run; Client.Marks returns it. What is newer is handed out. A conversation that is not in
	// it is new since that run, and all of it is handed out. Nil, but not an empty map, means that there was no earlier run: messages that were stored before
	// Dial are left to History. MaxCatchUp limits both.
	Known map[Conversation]Mark
	// MaxCatchUp is how many messages of each conversation are handed out that were stored while there was no connection: the last ones. Those
	// before them are left to History. 0 means 1,000; negative means none.
	MaxCatchUp int
	// Watch has the Client watch the user's contacts on each connection (see OnPresence). Client.Watch changes it.
	Watch bool
}

const defaultCatchUp = 1000

// Client is one user's connection to a server with package chat, and the connections that replace it when it is lost. Make a Client with Dial. All
// methods may be called from any goroutine, and in the functions of Config.
//
// Methods that ask the server send one request, and return client.ErrNotConnected while there is no connection, client.ErrDisconnected if it is
// lost before the reply, a *protocol.CloseError if the server refuses, and the error of ctx if that ends first. Only Send repeats.
type Client struct {
	cfg    Config
	mail   mail
	worker *worker
	ctx    context.Context // ends with the Client
	cancel context.CancelFunc
	jobs   sync.WaitGroup // the worker's requests
	sends  chan struct{}  // holds a token for each message that is being sent
	ready  chan error     // gets the outcome of the first list of conversations
	done   chan struct{}  // closed when the worker has ended

	mu      sync.Mutex
	conn    *client.Client
	marks   map[Conversation]Mark
	onlines int           // how often there was a connection
	online  chan struct{} // closed, and made anew, when there is another one
	err     error         // of a function that has panicked
}

// Dial connects to a server's TCP address as client.Dial does, asks for the user's conversations, and begins to catch up. Messages that are
// stored after Dial has returned are handed out. The error is client.Dial's, or the server's if it refuses to list the conversations: a server
// without package chat answers protocol.NoHandler. When the connection is lost meanwhile, or the server's store has failed, Dial goes on until
// ctx ends. The caller must Close the Client.
//
// cc.Handle must have no handlers for the types of chat and presence. Its other handlers and OnState run on a goroutine of the client.Client,
// beside the functions of cfg.
func Dial(ctx context.Context, addr string, cc client.Config, cfg Config) (*Client, error) {
	c := &Client{cfg: cfg, sends: make(chan struct{}, mostSends), ready: make(chan error, 1), done: make(chan struct{}), marks: make(map[Conversation]Mark), online: make(chan struct{})}
	if c.cfg.MaxCatchUp == 0 {
		c.cfg.MaxCatchUp = defaultCatchUp
	}
	maps.Copy(c.marks, cfg.Known)
	c.mail.init()
	c.worker = newWorker(c)
	if err := c.listen(&cc); err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	conn, err := client.Dial(ctx, addr, cc)
	if err != nil {
		c.cancel()
		return nil, err
	}
	c.setConn(conn)
	go c.worker.run()
	select {
	case err = <-c.ready:
	case <-c.done:
		if err = c.Err(); err == nil {
			err = client.ErrClosed
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Conn returns the connection, for what belongs to no conversation. Do not Close it: Close the Client.
func (c *Client) Conn() *client.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

func (c *Client) setConn(conn *client.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
}

// Marks returns up to where OnMessage has returned in each conversation, for Config.Known of a later run. While OnMessage runs the message is not
// among them. The caller may keep the map.
func (c *Client) Marks() map[Conversation]Mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.marks)
}

func (c *Client) setMark(of Conversation, m Mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks[of] = m
}

// Done returns a channel that is closed when the Client has ended for good and the last function of Config has returned. Do not wait for it in
// such a function, which would wait for itself.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil until the Client has ended for good, and then the reason: client.ErrClosed after Close, the value and the stack of a panic in a
// function of Config, or what Err of the client.Client returns.
func (c *Client) Err() error {
	c.mu.Lock()
	err, conn := c.err, c.conn
	c.mu.Unlock()
	if err != nil || conn == nil {
		return err
	}
	return conn.Err()
}

// Close ends the Client as client.Client.Close does. No further function of Config is called. It waits until the Client's goroutines have ended,
// but not for a running function of Config, which may be its caller (Done waits for it).
func (c *Client) Close() error {
	calling := c.mail.end()
	c.cancel()
	err := c.Conn().Close()
	if !calling {
		<-c.done
	}
	return err
}

// nextOnline waits until there was a connection after the first so many.
func (c *Client) nextOnline(ctx context.Context, after int) error {
	for {
		c.mu.Lock()
		onlines, online := c.onlines, c.online
		c.mu.Unlock()
		if onlines > after {
			return nil
		}
		select {
		case <-online:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ctx.Done():
			return client.ErrClosed
		}
	}
}

func (c *Client) countOnlines() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.onlines
}

// cameOnline notes that there is another connection.
func (c *Client) cameOnline(conn *client.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn // the first time perhaps before client.Dial has returned
	c.onlines++
	close(c.online)
	c.online = make(chan struct{})
}

// failed ends the Client because a function of the program's has failed. v is the value of its panic; nil for a Goexit.
func (c *Client) failed(v any) {
	err := fmt.Errorf("rollcall: a function of chatclient.Config panicked: %v\n\n%s", v, debug.Stack())
	if v == nil {
		err = errors.New("rollcall: a function of chatclient.Config did not return: it has called runtime.Goexit, as t.FailNow does")
	}
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	c.mail.end()
	c.cancel()
	_ = c.Conn().Close()
}
