package cluster

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

// WithDetour returns a Mesh that sends by direct, such as that of package cluster/mesh. Where direct does not reach a node, it sends what
// logons wait for by the mesh around: the frames by which sessions end. So users can log on at both of two nodes that are cut off from each
// other, while both reach the store. Messages to users do not go around. The mesh of package cluster/redisdir is a good second way. All nodes
// must have both.
//
// The frames that may go around keep their order among each other. If one comes late, after a later one came by the other way, it is
// dropped. The frames that never go around keep the order that direct gives them.
func WithDetour(direct, around Mesh) Mesh {
	d := &detour{direct: direct, around: around, heard: make(map[Incarnation]time.Time)}
	_, _ = rand.Read(d.id[:]) // it has no error
	return d
}

// detour is a Mesh of two.
type detour struct {
	direct, around Mesh
	id             [wayID]byte // of the sender

	// sending is held from the choice of a number until both meshes have queued the frame, so that no frame overtakes another.
	sending sync.Mutex
	number  uint64

	mu    sync.Mutex
	heard map[Incarnation]time.Time // when a frame came around
}

const (
	wayID   = 8
	waySize = wayID + 8
	// bothFor is how long frames go to a node by both ways after one has come around: its own direct way may be cut, and not know it yet.
	bothFor = 3 * time.Second
)

var _ Addressed = (*detour)(nil)

// mayDetour reports whether a frame is one of those that logons wait for, a newcomer's first ones included.
func mayDetour(frame []byte) bool {
	if len(frame) < frameHeader {
		return false
	}
	switch frameKind(frame[0]) {
	case frameEvict, frameAlive, frameLives, frameGone, frameHello, frameWelcome:
		return true
	}
	return false
}

// Addr implements Addressed.
func (d *detour) Addr() string {
	if a, ok := d.direct.(Addressed); ok {
		return a.Addr()
	}
	return ""
}

// Route implements Addressed.
func (d *detour) Route(nodes map[Incarnation]string) {
	for _, m := range []Mesh{d.direct, d.around} {
		if a, ok := m.(Addressed); ok {
			a.Route(nodes)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for inc := range d.heard {
		if _, lives := nodes[inc]; !lives {
			delete(d.heard, inc)
		}
	}
}

// Send implements Mesh.
func (d *detour) Send(to Incarnation, frame []byte) error { return d.send(to, frame, false) }

// send is Send. With both the frame goes by both ways.
func (d *detour) send(to Incarnation, frame []byte, both bool) error {
	if !mayDetour(frame) {
		return d.direct.Send(to, frame)
	}
	d.mu.Lock()
	both = both || time.Since(d.heard[to]) < bothFor
	d.mu.Unlock()
	d.sending.Lock()
	defer d.sending.Unlock()
	d.number++
	way := binary.BigEndian.AppendUint64(slices.Clone(d.id[:]), d.number)
	frame = appendField(slices.Clip(frame), fieldWay, way)
	err := d.direct.Send(to, frame)
	if err == nil && !both {
		return nil
	}
	if around := d.around.Send(to, frame); around == nil {
		return nil
	}
	return err
}

// Open implements Mesh.
func (d *detour) Open(me Incarnation, f func(frame []byte)) (stop func(), err error) {
	in := &crossing{f: f, last: make(map[[wayID]byte]uint64)}
	in.room.L = &in.mu
	stopDirect, err := d.direct.Open(me, in.take)
	if err != nil {
		return nil, err
	}
	stopAround, err := d.around.Open(me, func(b []byte) {
		d.noteAround(b)
		in.take(b)
	})
	if err != nil {
		stopDirect()
		return nil, err
	}
	return func() {
		stopDirect()
		stopAround()
	}, nil
}

// noteAround notes that a frame has come around.
func (d *detour) noteAround(b []byte) {
	if !mayDetour(b) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard[Incarnation(binary.BigEndian.Uint32(b[1:]))] = time.Now()
}

// crossing has the frames of two meshes come to f one at a time. A goroutine that finds f running leaves its frame to the one that runs f.
type crossing struct {
	f func(frame []byte)

	mu      sync.Mutex
	running bool
	waiting [][]byte
	room    sync.Cond              // those in waiting have become fewer
	last    map[[wayID]byte]uint64 // the highest number that came, by sender
}

// mostWaiting is how many frames may wait while f runs. The goroutine that has a further one waits too, as if it ran f itself.
const mostWaiting = 4096

func (c *crossing) take(b []byte) {
	c.mu.Lock()
	for c.running && len(c.waiting) >= mostWaiting {
		c.room.Wait()
	}
	if c.isLate(b) {
		c.mu.Unlock()
		return
	}
	if c.running || len(c.waiting) > 0 { // some wait and none is handled after a panic of f
		c.waiting = append(c.waiting, slices.Clone(b))
		b = nil
	}
	if c.running {
		c.mu.Unlock()
		return
	}
	c.running = true
	c.mu.Unlock()
	more := true
	if b == nil {
		b, more = c.next()
	}
	for ; more; b, more = c.next() {
		c.call(b)
	}
}

// call calls f. After a panic another goroutine may call f.
func (c *crossing) call(b []byte) {
	returned := false
	defer func() {
		if !returned {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.running = false
			c.room.Broadcast()
		}
	}()
	c.f(b)
	returned = true
}

// next returns a frame that waits. Without one f no longer runs.
func (c *crossing) next() (b []byte, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.running, c.waiting = false, nil
		c.room.Broadcast()
		return nil, false
	}
	b, c.waiting = c.waiting[0], c.waiting[1:]
	if len(c.waiting) == mostWaiting/2 {
		c.room.Broadcast()
	}
	return b, true
}

// isLate reports whether a frame has come before, or came after a later one of its sender. c.mu is held on entry.
func (c *crossing) isLate(b []byte) bool {
	if !mayDetour(b) {
		return false
	}
	f, err := decodeFrame(b)
	if err != nil || len(f.way) != waySize {
		return false // handle says so
	}
	sender, number := [wayID]byte(f.way), binary.BigEndian.Uint64(f.way[wayID:])
	if number <= c.last[sender] {
		return true
	}
	c.last[sender] = number
	return false
}
