package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
)

var (
	// ErrNotConnected is returned by methods that send, while there is no connection. The message is neither sent nor kept for
	// later.
	ErrNotConnected = errors.New("rollcall: the client is not connected")
	// ErrDisconnected is the outcome of a request whose connection was lost before the reply came. The client does not know
	// whether the server has handled the request. The error wraps the reason for the loss too.
	ErrDisconnected = errors.New("rollcall: the connection was lost before the reply came")
	// ErrClosed is returned by methods that send when the client has ended for good, and by Err after Close.
	ErrClosed = errors.New("rollcall: the client is closed")
)

// State is what a client is doing.
type State int

const (
	// Reconnecting: there is no connection; the client waits, or tries to make one.
	Reconnecting State = iota
	// Online: the client is logged on.
	Online
	// Closed: the client has ended for good.
	Closed
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Reconnecting:
		return "Reconnecting"
	case Online:
		return "Online"
	case Closed:
		return "Closed"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// Client is one user's connection to a server, and the connections that replace it when it is lost. Make a Client with Dial. All
// methods may be called from any goroutine, in handlers too.
type Client struct {
	cfg   Config
	addrs []string // the addresses given to Dial
	tried string   // the address of the last attempt; only connecting and reconnecting use it
	inbox *inbox

	unanswered atomic.Pointer[protocol.Message] // the request that a handler is called with, until it is answered
	pushes     seenPushes                       // only the handlers' goroutine uses it

	unsentAcks   []uuid.UUID     // of pushes, for the next connection; only the handlers' goroutine uses it
	ctx          context.Context // ends when the client is to end
	cancel       context.CancelFunc
	reconnectNow chan struct{} // holds a token when the next attempt to reconnect must not wait
	loopDone     chan struct{} // closed when the goroutine that reads has ended, and with it the one that writes
	done         chan struct{} // closed when the handlers' goroutine has ended too

	mu      sync.Mutex
	state   State
	conn    *conn // nil unless the client is online
	stopped error // why this side ends the client; nil while it does not
	err     error // why the client has ended
	userID  string
	session string // ID of the last session
	at      int    // index in addrs of the last connection
	moved   string // the other address that the server has named
}

// Dial connects to a server, logs on, and waits for the answer. ctx and Config.Timeouts.Dial limit how long that may take. ctx has no
// effect once Dial has returned.
//
// addr is a TCP address, "host:port", or a URL of a WebSocket, "ws://host:port/path", or "wss://host:port/path" for one over TLS; the
// ports of URLs without one are 80 and 443. The package's comment says more about WebSocket. For a URL with another scheme, with a user or a
// fragment, or that is malformed, Dial returns an error and connects to nothing. Put no token into the query, because servers and
// proxies log it: Config.Token is for that.
//
// addr may be several addresses, separated by commas, of both kinds; a comma in a URL is written %2C. Each attempt, to reconnect too,
// tries them in turn until a server accepts or refuses the logon. It begins with the address of the last connection.
//
// Dial tries once: when it cannot connect, or the server refuses the logon, it returns the error. With Reconnect.First it tries
// again. A refusal is a *protocol.CloseError (errors.As), whose Code.MayReconnect says whether another attempt makes sense.
//
// The caller must Close the client.
func Dial(ctx context.Context, addr string, cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	if cfg.UserID != "" {
		if err := protocol.CheckUserID(cfg.UserID); err != nil {
			return nil, err
		}
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	addrs, err := cfg.addresses(addr)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, addrs: addrs, userID: cfg.UserID, inbox: newInbox(cfg.MaxInbound),
		reconnectNow: make(chan struct{}, 1), loopDone: make(chan struct{}), done: make(chan struct{})}
	cn, err := c.connectFirst(ctx)
	if err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wentOnline(cn)
	go c.dispatch()
	go c.run(cn)
	return c, nil
}

// UserID returns the user ID that the logon's reply names, which the server may have found by the token alone. Where the reply
// names none it returns Config.UserID.
func (c *Client) UserID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.userID
}

// SessionID returns the ID of the session, or of the last session while there is no connection. It is empty if the server sent
// none. It is a secret: a client with this ID can take the session over.
func (c *Client) SessionID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// State returns the current state. OnState may be called for it later.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Format writes the user and the state, whatever the verb: package fmt would write the session's ID, which is a secret, with all other
// fields.
func (c *Client) Format(w fmt.State, verb rune) {
	_, _ = fmt.Fprintf(w, "Client(%q, %v)", c.UserID(), c.State())
}

// Done returns a channel that is closed when the client has ended for good and its last handler, OnState with
// Closed, has returned. Do not wait for it in a handler, which would wait for itself.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil until the client has ended for good, and then the reason. It is ErrClosed after Close. When a handler, OnPush or
// OnState panicked, or called runtime.Goexit, the error's text has the panic's value and stack. Otherwise it is the error after
// which the client could not, or must not, reconnect. errors.As finds the server's *protocol.CloseError in it.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the client. Messages sent before still go out, then a Close notice. The connection closes when the server has ended its
// side, or when Timeouts.Close has passed. Waiting requests end with ErrDisconnected. No further message is delivered. A push whose
// OnPush has not returned is not acknowledged. OnState is called with Closed and ErrClosed.
//
// Close waits until the client's goroutines have ended. It does not wait for a running handler, because the handler may be its
// caller (Done waits for the handler). It returns an error when something did not end in time, such as a Config.Token that ignores
// its context. Later calls wait in the same way and change nothing.
func (c *Client) Close() error {
	c.stop(ErrClosed, protocol.ClientClosed, "")
	handlerRuns := c.inbox.discard()
	timeout := time.NewTimer(c.cfg.Timeouts.Close + time.Second)
	defer timeout.Stop()
	end := c.done
	if handlerRuns {
		end = c.loopDone
	}
	select {
	case <-end:
		return nil
	case <-timeout.C:
		return errors.New("rollcall: the client did not end in time")
	}
}

// stop ends the client, unless it was stopped before. It tells the server, and ends a wait for a connection.
func (c *Client) stop(why error, code protocol.CloseCode, text string) {
	c.mu.Lock()
	if c.stopped != nil || c.state == Closed {
		c.mu.Unlock()
		return
	}
	c.stopped = why
	cn := c.conn
	c.conn = nil
	c.mu.Unlock()
	c.cancel()
	if cn != nil {
		cn.leave(why, code, text)
	}
}

// wentOnline makes cn the client's connection.
func (c *Client) wentOnline(cn *conn) {
	c.mu.Lock()
	leave := c.stopped != nil
	if !leave {
		c.conn, c.state = cn, Online
		select {
		case <-c.reconnectNow: // Reconnect came too late
		default:
		}
	}
	c.session = cn.session
	if cn.userID != "" {
		c.userID = cn.userID
	}
	c.mu.Unlock()
	if leave { // Close was called during the logon
		cn.leave(ErrClosed, protocol.ClientClosed, "")
		return
	}
	c.tell(Online, nil)
}

// ended is the last call on the goroutine that reads.
func (c *Client) ended(err error) {
	c.mu.Lock()
	if c.stopped != nil {
		err = c.stopped
	}
	c.conn, c.state, c.err = nil, Closed, err
	c.mu.Unlock()
	c.cancel()
	c.inbox.putLast(item{state: Closed, err: err})
}

// tell queues a change of state for OnState. Online also makes the handlers' goroutine send late acknowledgements, if
// it acknowledges pushes.
func (c *Client) tell(s State, err error) {
	if c.cfg.OnState != nil || s == Online && c.cfg.OnPush != nil {
		_ = c.inbox.put(item{state: s, err: err, size: stateSize}, nil, c.ctx.Done())
	}
}
