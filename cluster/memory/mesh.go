package memory

import (
	"sync"

	"github.com/rollcall-go/rollcall/cluster"
)

// Mesh is a cluster.Mesh in memory. Make one with NewMesh.
type Mesh struct {
	mu   sync.Mutex
	open map[cluster.Incarnation]*inbox
	lose func(to cluster.Incarnation, frame []byte) bool
}

var _ cluster.Mesh = (*Mesh)(nil)

// queue is how many bytes may wait for an incarnation.
const queue = 16 << 20

// inbox has the frames for one incarnation.
type inbox struct {
	mu     sync.Mutex
	frames [][]byte
	bytes  int
	closed bool
	wake   chan struct{}
	ended  chan struct{}
}

// NewMesh returns a mesh without nodes.
func NewMesh() *Mesh { return &Mesh{open: make(map[cluster.Incarnation]*inbox)} }

// Lose has the mesh lose the frames for which lose returns true. Nil loses none.
func (m *Mesh) Lose(lose func(to cluster.Incarnation, frame []byte) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lose = lose
}

// Open implements cluster.Mesh. stop returns when f does not run any more.
func (m *Mesh) Open(me cluster.Incarnation, f func(frame []byte)) (stop func(), err error) {
	in := &inbox{wake: make(chan struct{}, 1), ended: make(chan struct{})}
	m.mu.Lock()
	m.open[me] = in
	m.mu.Unlock()
	go in.deliver(f)
	return func() {
		m.mu.Lock()
		if m.open[me] == in {
			delete(m.open, me)
		}
		m.mu.Unlock()
		in.mu.Lock()
		in.closed = true
		in.mu.Unlock()
		in.signal()
		<-in.ended
	}, nil
}

// Send implements cluster.Mesh.
func (m *Mesh) Send(to cluster.Incarnation, frame []byte) error {
	m.mu.Lock()
	in, lose := m.open[to], m.lose
	m.mu.Unlock()
	if in == nil {
		return cluster.ErrNoRoute
	}
	if lose != nil && lose(to, frame) {
		return nil
	}
	in.mu.Lock()
	if in.bytes > 0 && in.bytes+len(frame) > queue {
		in.mu.Unlock()
		return cluster.ErrPeerSlow
	}
	in.frames = append(in.frames, frame)
	in.bytes += len(frame)
	in.mu.Unlock()
	in.signal()
	return nil
}

func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

func (in *inbox) deliver(f func([]byte)) {
	defer close(in.ended)
	for range in.wake {
		for {
			in.mu.Lock()
			if in.closed || len(in.frames) == 0 {
				closed := in.closed
				in.mu.Unlock()
				if closed {
					return
				}
				break
			}
			frame := in.frames[0]
			in.frames = in.frames[1:]
			in.bytes -= len(frame)
			in.mu.Unlock()
			f(frame)
		}
	}
}
