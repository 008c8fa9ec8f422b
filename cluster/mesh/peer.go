package mesh

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
)

// peer is the way to another process of the cluster.
type peer struct {
	mesh *Mesh
	addr string
	ctx  context.Context
	end  context.CancelFunc
	wake chan struct{} // holds a token when frames wait

	// Only run's goroutine uses them.
	taken   []letter // frames that were taken from the queue and are not sent yet
	scratch []byte

	mu     sync.Mutex
	queue  []letter
	bytes  int       // of queue and taken
	up     bool      // there is a connection
	lostAt time.Time // when there was one last, or was to be the first
}

// letter is a frame on its way.
type letter struct {
	to    cluster.Incarnation
	frame []byte
}

// letterSize is about what a frame takes in memory beside its bytes.
const letterSize = 64

func (l *letter) size() int { return len(l.frame) + letterSize }

func newPeer(m *Mesh, addr string) *peer {
	p := &peer{mesh: m, addr: addr, wake: make(chan struct{}, 1), lostAt: time.Now()}
	p.ctx, p.end = context.WithCancel(m.ctx)
	return p
}

// send queues a frame.
func (p *peer) send(to cluster.Incarnation, frame []byte) error {
	l := letter{to, frame}
	p.mu.Lock()
	switch {
	case !p.up && time.Since(p.lostAt) >= p.mesh.cfg.silence:
		p.mu.Unlock()
		return cluster.ErrNoRoute
	case p.bytes > 0 && p.bytes+l.size() > p.mesh.cfg.Queue:
		p.mu.Unlock()
		return cluster.ErrPeerSlow
	}
	p.queue = append(p.queue, l)
	p.bytes += l.size()
	first := len(p.queue) == 1
	p.mu.Unlock()
	if first {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// run connects to the other process and sends what is queued, until Route or Close ends the peer.
func (p *peer) run() {
	var told bool // that the process is not reached
	for pause := leastPause; p.ctx.Err() == nil; {
		c, err := p.connect()
		if err != nil {
			if p.isDown() && !told && p.ctx.Err() == nil {
				told = true
				p.mesh.log.Warn("a node of the cluster is not reached", zap.String("address", p.addr), zap.Error(err))
			}
			sleep(p.ctx, pause)
			pause = min(2*pause, mostPause)
			continue
		}
		pause, told = leastPause, false
		p.setUp(true)
		p.sendAll(c)
		p.setUp(false)
		_ = c.Close()
	}
}

// The waits between attempts to connect.
const (
	leastPause = 50 * time.Millisecond
	mostPause  = time.Second
)

// closeFor is how long a connection that ends may take to send what was sent before.
const closeFor = 500 * time.Millisecond

// connect makes a connection and proves that this process is of the cluster.
func (p *peer) connect() (*client.Client, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.mesh.cfg.silence)
	defer cancel()
	c, err := client.Dial(ctx, p.addr, client.Config{
		UserID:    p.mesh.id,
		TLS:       p.mesh.cfg.TLS,
		MaxBody:   -1, // the listener says what it takes
		Reconnect: client.Reconnect{Max: -1},
		Timeouts: client.Timeouts{
			Dial: p.mesh.cfg.silence, Write: p.mesh.cfg.silence, Close: closeFor, Heartbeat: min(beat, p.mesh.cfg.silence/3), Server: p.mesh.cfg.silence,
		},
	})
	if err != nil {
		return nil, err
	}
	if err := p.prove(ctx, c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// prove has both sides prove that they are of the cluster.
func (p *peer) prove(ctx context.Context, c *client.Client) error {
	h := handshake{secret: p.mesh.cfg.Secret, dialler: p.mesh.id, listener: p.addr, dialled: newNonce()}
	m, err := c.Request(ctx, typeOpen, append([]byte{version}, h.dialled[:]...))
	if err != nil {
		return err
	}
	if len(m.Body) < openedSize {
		return errProof
	}
	copy(h.listens[:], m.Body[1:])
	if !h.proves("listener", m.Body[openSize:]) {
		return errProof
	}
	if _, err = c.Request(ctx, typeProve, h.proof("dialler")); err != nil {
		return fmt.Errorf("the proof that this node is of the cluster: %w", err)
	}
	return nil
}

// sendAll sends what is queued until the connection or the peer ends.
func (p *peer) sendAll(c *client.Client) {
	var spare []letter // the former queue's memory
	for {
		if !p.sendTaken(c) {
			return
		}
		p.mu.Lock()
		p.taken, p.queue = p.queue, spare[:0]
		spare = p.taken
		more := len(p.taken) > 0
		p.mu.Unlock()
		if more {
			continue
		}
		select {
		case <-p.wake:
		case <-c.Done():
			return
		case <-p.ctx.Done():
			return
		}
	}
}

// sendTaken sends the frames that were taken from the queue. It reports false when the connection is lost: those that are left are sent on
// the next one.
func (p *peer) sendTaken(c *client.Client) bool {
	for len(p.taken) > 0 {
		n := p.pack()
		if err := c.Send(typeFrames, p.scratch); err != nil && lost(c) || p.ctx.Err() != nil {
			return false
		} else if err != nil {
			p.mesh.log.Warn("frames were not sent", zap.Int("bytes", len(p.scratch)), zap.Error(err))
		}
		p.sent(n)
		p.mesh.figures.sent.Add(uint64(n))
	}
	p.taken = nil
	if cap(p.scratch) > keepScratch {
		p.scratch = nil
	}
	return true
}

// pack packs the first frames into one message, and returns how many.
func (p *peer) pack() (n int) {
	p.scratch = p.scratch[:0]
	for n < len(p.taken) && (n == 0 || len(p.scratch)+frameHead+len(p.taken[n].frame) <= packSize) {
		l := &p.taken[n]
		p.scratch = binary.BigEndian.AppendUint32(p.scratch, uint32(l.to))
		p.scratch = binary.BigEndian.AppendUint32(p.scratch, uint32(len(l.frame)))
		p.scratch = append(p.scratch, l.frame...)
		n++
	}
	return n
}

// sent takes away the first frames.
func (p *peer) sent(n int) {
	freed := 0
	for i := range p.taken[:n] {
		freed += p.taken[i].size()
		p.taken[i] = letter{}
	}
	p.taken = p.taken[n:]
	p.mu.Lock()
	p.bytes -= freed
	p.mu.Unlock()
}

// packSize is how many bytes of frames go into one message, if there is more than one.
const packSize = 16 << 10

// keepScratch is how large a buffer is kept.
const keepScratch = 64 << 10

// lost reports whether a client has no connection any more.
func lost(c *client.Client) bool { return c.State() != client.Online }

// setUp notes whether there is a connection. Frames that have waited for too long for one are lost.
func (p *peer) setUp(up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up && time.Since(p.lostAt) >= p.mesh.cfg.silence {
		p.queue, p.taken, p.bytes = nil, nil, 0
	}
	if p.up && !up {
		p.lostAt = time.Now()
	}
	p.up = up
}

// isDown reports whether the process has not been reached for so long that frames for it are refused. Those that have waited are lost.
func (p *peer) isDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up || time.Since(p.lostAt) < p.mesh.cfg.silence {
		return false
	}
	p.queue, p.taken, p.bytes = nil, nil, 0
	return true
}

// sleep returns when d has passed or ctx has ended.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
