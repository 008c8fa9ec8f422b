package push_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
)

// network is what a client's connections go over, and loses.
type network struct {
	seen func(conn int, m *protocol.Message) // told of each message of the server, before the client is; may be nil

	mu    sync.Mutex
	conns []*wire
	away  chan struct{} // closed when the network is back; nil while it is there
}

// wire is a connection of which the server may not hear that it was lost.
type wire struct {
	*net.TCPConn
	network *network
	number  int
	lost    atomic.Bool
	frames  wiretest.Reader
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.TCPConn.Read(b)
	if w.network.seen != nil {
		w.frames.Add(b[:n])
		for m, _ := w.frames.Have(); m != nil; m, _ = w.frames.Have() {
			w.network.seen(w.number, m)
		}
	}
	return n, err
}

func (n *network) dial(ctx context.Context, netw, addr string) (net.Conn, error) {
	n.mu.Lock()
	away := n.away
	n.mu.Unlock()
	if away != nil {
		select {
		case <-away:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	nc, err := new(net.Dialer).DialContext(ctx, netw, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	w := &wire{TCPConn: nc.(*net.TCPConn), network: n, number: len(n.conns)}
	n.conns = append(n.conns, w)
	return w, nil
}

func (n *network) last() *wire {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conns[len(n.conns)-1]
}

// reset loses the connection for both sides.
func (n *network) reset() {
	w := n.last()
	_ = w.SetLinger(0)
	_ = w.TCPConn.Close()
}

// lose loses it for the client alone: the server does not hear of it.
func (n *network) lose(t *testing.T) {
	w := n.last()
	w.lost.Store(true)
	_ = w.SetReadDeadline(time.Now())
	t.Cleanup(func() { _ = w.TCPConn.Close() })
}

func (w *wire) Close() error {
	if w.lost.Load() {
		return nil
	}
	return w.TCPConn.Close()
}

// leave is reset, after which there is no network until back is called.
func (n *network) leave() (back func()) {
	away := make(chan struct{})
	n.mu.Lock()
	n.away = away
	n.mu.Unlock()
	n.reset()
	return func() {
		n.mu.Lock()
		n.away = nil
		n.mu.Unlock()
		close(away)
	}
}

// end closes what the server may believe to be open.
func (n *network) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.conns {
		_ = w.TCPConn.Close()
	}
}
