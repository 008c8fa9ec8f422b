package client

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// conn is one connection that is logging on, or logged on.
type conn struct {
	client *Client
	nc     net.Conn
	ws     *webSocket // nil for TCP
	way    *path      // nil without datagrams beside TLS; set by the logon
	frames frameReader
	born   time.Time // the times below are relative to it

	// The logon sets the fields below.
	userID, session string
	expires         time.Duration // how long the session may last, unless it is renewed; 0 for ever
	ghostTimeout    time.Duration // how long the server may take to notice that this connection is dead
	interval        time.Duration // between two signs of life
	serverTimeout   time.Duration
	maxBody         int // the largest body that may be sent
	maxFrame        int // the largest frame: over UDP a datagram has it as a whole

	heard  atomic.Int64 // when bytes last came, counted from born
	paused atomic.Bool  // the client itself does not read, because handlers are behind

	wake chan struct{} // has a token when the writer has something to do
	dead chan struct{} // closed when the connection has ended

	mu       sync.Mutex
	out      []byte        // frames that wait to be written
	space    chan struct{} // closed when out has been taken; nil while no goroutine waits for that
	cut      bool          // nothing more may be sent
	leaving  bool          // the last frame of out is a Close, or nothing is to be sent any more
	webCode  uint16        // of the Close frame of WebSocket behind it
	why      error         // why the connection ended; nil while it has not
	requests map[uint32]request
	lastID   uint32
	timer    *time.Timer // ends the connection when the peer does not end it in time
}

// request is a request that waits for its reply.
type request struct {
	of     string // the user that was asked; empty is the server
	answer chan answer
}

// answer is the outcome of a request.
type answer struct {
	reply *protocol.Message
	err   error
}

// maxQueued is how many bytes may wait to be written before a Send waits.
const maxQueued = 256 << 10

func newConn(c *Client, nc net.Conn) *conn {
	cn := &conn{client: c, nc: nc, born: time.Now(), wake: make(chan struct{}, 1), dead: make(chan struct{}),
		requests: make(map[uint32]request), lastID: rand.Uint32()}
	if cn.frames.read, cn.maxFrame = cn.read, math.MaxInt; isUDP(nc) {
		cn.maxFrame = udpwire.MaxFrame
	}
	cn.setMaxBody("")
	return cn
}

// serve runs the connection until it has ended, and returns why it did.
func (cn *conn) serve() error {
	var others sync.WaitGroup
	others.Go(func() {
		contain.Call(cn.writeAll, func(v any) { cn.end(panicError("the connection", v)) })
	})
	ctx, cancel := context.WithCancel(cn.client.ctx)
	if cn.expires > 0 {
		others.Go(func() { cn.renewAll(ctx) })
	}
	if cn.way != nil {
		others.Go(func() { cn.way.run(ctx) })
	}
	cn.end(cn.readAll())
	cancel()
	others.Wait()
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.why
}

// end ends the connection at once. The first cause counts.
func (cn *conn) end(why error) {
	cn.mu.Lock()
	if cn.why != nil {
		cn.mu.Unlock()
		return
	}
	cn.why = why
	cn.cut = true
	if cn.timer != nil {
		cn.timer.Stop()
	}
	cn.mu.Unlock()
	close(cn.dead)
	closeAtOnce(cn.nc)
	cn.abandon(why)
}

// leave begins to end the connection gracefully: queued messages go out, then a notice; then the peer has time to end
// its side.
func (cn *conn) leave(why error, code protocol.CloseCode, text string) {
	cn.mu.Lock()
	if cn.why != nil || cn.leaving {
		cn.mu.Unlock()
		return
	}
	if !cn.cut {
		cn.cut, cn.leaving, cn.webCode = true, true, webCodeOf(why, code)
		notice := protocol.Message{Type: protocol.TypeClose,
			Body: system.AppendClose(nil, &protocol.CloseError{Code: code, Text: text})}
		cn.out, _ = protocol.Binary.Append(cn.out, &notice) // encoding a notice cannot fail
	}
	if cn.timer != nil {
		cn.timer.Stop()
	}
	cn.timer = time.AfterFunc(cn.client.cfg.Timeouts.Close, func() { cn.end(why) })
	cn.mu.Unlock()
	token(cn.wake)
	cn.abandon(why)
}

// abandon ends the waiting requests.
func (cn *conn) abandon(why error) {
	cn.mu.Lock()
	requests := cn.requests
	cn.requests = nil
	cn.mu.Unlock()
	for _, r := range requests {
		r.answer <- answer{err: fmt.Errorf("%w: %w", ErrDisconnected, why)}
	}
}

// send queues a message. It blocks while too many bytes wait, until ctx or the connection ends.
func (cn *conn) send(ctx context.Context, m *protocol.Message) error {
	for {
		cn.mu.Lock()
		if cn.cut {
			cn.mu.Unlock()
			return ErrNotConnected
		}
		if len(cn.out) < maxQueued {
			out, err := protocol.Binary.Append(cn.out, m)
			if len(out)-len(cn.out) > cn.maxFrame {
				out, err = cn.out, errFrameTooLarge
			}
			cn.out = out
			cn.mu.Unlock()
			if err == nil {
				token(cn.wake)
			}
			return err
		}
		if cn.space == nil {
			cn.space = make(chan struct{})
		}
		space := cn.space
		cn.mu.Unlock()
		select {
		case <-space:
		case <-cn.dead:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// request sends m under an ID of its own and waits for the reply.
func (cn *conn) request(ctx context.Context, m *protocol.Message) (*protocol.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ch := make(chan answer, 1)
	cn.mu.Lock()
	if cn.cut {
		cn.mu.Unlock()
		return nil, ErrNotConnected
	}
	m.ID = cn.nextID()
	cn.requests[m.ID] = request{of: m.DestUserID, answer: ch}
	cn.mu.Unlock()
	token(cn.client.inbox.room) // wakes a reader that waits for the handlers: the reply may come later
	if err := cn.send(ctx, m); err != nil {
		cn.forget(m.ID)
		return nil, err
	}
	select {
	case a := <-ch:
		return a.reply, a.err
	case <-ctx.Done():
		cn.forget(m.ID)
		return nil, ctx.Err()
	}
}

// nextID returns a message ID that no open request has. IDs begin at a random number, because a relayed reply reaches
// every session of the user who asked (docs/protocol.md, Messages between users). cn.mu is held on entry.
func (cn *conn) nextID() uint32 {
	for {
		cn.lastID++
		if _, taken := cn.requests[cn.lastID]; cn.lastID != 0 && !taken {
			return cn.lastID
		}
	}
}

func (cn *conn) forget(id uint32) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	delete(cn.requests, id)
}

// waits reports whether a request waits for its reply.
func (cn *conn) waits() bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return len(cn.requests) > 0
}

// now returns the time since the connection was made.
func (cn *conn) now() time.Duration { return time.Since(cn.born) }
