// Package meshtest has tests that every implementation of cluster.Mesh must pass.
//
//	func TestMesh(t *testing.T) {
//		meshtest.Run(t, func(t *testing.T) meshtest.Network { … })
//	}
package meshtest

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
)

// Network makes meshes that reach each other.
type Network struct {
	// New returns the mesh of another process, which ends with the test.
	New func(t *testing.T) cluster.Mesh
}

// Run runs the suite. open returns a network without nodes, for each test another.
func Run(t *testing.T, open func(t *testing.T) Network) {
	for _, c := range []struct {
		name string
		test func(s *suite)
	}{
		{"FramesComeInOrderAndOnce", (*suite).order},
		{"FramesComeOneAtATime", (*suite).oneAtATime},
		{"FramesOfAnySizeComeWhole", (*suite).sizes},
		{"AnIncarnationGetsItsFramesAlone", (*suite).incarnations},
		{"NoFrameComesAfterStop", (*suite).stops},
		{"StopWaitsForTheFrameThatIsHandled", (*suite).stopWaits},
		{"ASlowPeerHoldsUpNoSender", (*suite).slowPeer},
		{"APeerThatIsGoneHoldsUpNoSender", (*suite).gonePeer},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(&suite{t: t, network: open(t), routes: make(map[cluster.Incarnation]string)})
		})
	}
}

// suite is one test.
type suite struct {
	t       *testing.T
	network Network
	meshes  []cluster.Mesh
	routes  map[cluster.Incarnation]string
	last    cluster.Incarnation
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func (s *suite) mesh() cluster.Mesh {
	m := s.network.New(s.t)
	s.meshes = append(s.meshes, m)
	s.route()
	return m
}

// open opens another incarnation.
func (s *suite) open(m cluster.Mesh, f func([]byte)) (me cluster.Incarnation, stop func()) {
	s.t.Helper()
	s.last++
	me = s.last
	stop, err := m.Open(me, f)
	if err != nil {
		s.t.Fatal(err)
	}
	stop = sync.OnceFunc(stop)
	s.t.Cleanup(stop)
	if a, ok := m.(cluster.Addressed); ok {
		s.routes[me] = a.Addr()
	}
	s.route()
	return me, stop
}

// route tells the meshes where the nodes are, as the nodes do.
func (s *suite) route() {
	for _, m := range s.meshes {
		a, ok := m.(cluster.Addressed)
		if !ok {
			continue
		}
		nodes := make(map[cluster.Incarnation]string)
		for inc, addr := range s.routes {
			nodes[inc] = addr
		}
		a.Route(nodes)
	}
}

// collector notes the frames that come. A frame is 4 bytes of the sender, 4 of a number from 1 on, and a filling of the number.
type collector struct {
	mu   sync.Mutex
	last map[uint32]uint32 // by sender
	got  int
	bad  []string
}

func newCollector() *collector { return &collector{last: make(map[uint32]uint32)} }

const frameHead = 8

func frame(sender, number uint32, size int) []byte {
	b := make([]byte, max(size, frameHead))
	binary.BigEndian.PutUint32(b, sender)
	binary.BigEndian.PutUint32(b[4:], number)
	for i := range b[frameHead:] {
		b[frameHead+i] = byte(number) + byte(i)
	}
	return b
}

func (c *collector) take(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b) < frameHead {
		c.bad = append(c.bad, "a frame was cut short")
		return
	}
	sender, number := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	for i, x := range b[frameHead:] {
		if x != byte(number)+byte(i) {
			c.bad = append(c.bad, "a frame was changed, or mixed with another")
			break
		}
	}
	if number <= c.last[sender] {
		c.bad = append(c.bad, "a frame came twice, or after a later one")
	}
	c.last[sender] = number
	c.got++
}

// lastOf returns the number of the last frame of a sender.
func (c *collector) lastOf(sender uint32) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[sender]
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got
}

func (c *collector) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, text := range c.bad {
		if i < 5 {
			t.Error(text)
		}
	}
}

func (s *suite) await(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not in time: %s", what)
		}
	}
}

// reaches sends frames until one arrives, since a mesh may need time to connect, and may lose frames. It returns the number of the last one.
func (s *suite) reaches(m cluster.Mesh, to cluster.Incarnation, c *collector, sender, number uint32) uint32 {
	s.t.Helper()
	before := c.count()
	s.await("a frame comes", func() bool {
		number++
		_ = m.Send(to, frame(sender, number, 0))
		for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if c.count() > before {
				return true
			}
		}
		return false
	})
	return number
}

// allowed reports whether an error is one that Send may return.
func allowed(err error) bool {
	return err == nil || errors.Is(err, cluster.ErrNoRoute) || errors.Is(err, cluster.ErrPeerSlow)
}

func (s *suite) order() {
	const frames = 3000
	a, b, to := s.mesh(), s.mesh(), s.mesh()
	c := newCollector()
	me, _ := s.open(to, c.take)
	senders := []cluster.Mesh{a, b}
	var first [2]uint32
	for i, m := range senders {
		first[i] = s.reaches(m, me, c, uint32(i), 0)
	}
	var all sync.WaitGroup
	for i, m := range senders {
		all.Go(func() {
			for n := first[i] + 1; n <= first[i]+frames; n++ {
				if err := m.Send(me, frame(uint32(i), n, int(n%200))); err != nil {
					s.t.Errorf("frame %d was refused: %v", n, err)
					return
				}
			}
		})
	}
	all.Wait()
	for i := range senders {
		s.await("the last frame comes", func() bool { return c.lastOf(uint32(i)) == first[i]+frames })
	}
	c.check(s.t)
	if n := c.count(); n < 2*frames {
		s.t.Errorf("%d frames came of %d, and nothing was wrong", n, 2*frames)
	}
}

func (s *suite) oneAtATime() {
	const frames = 300
	a, b, to := s.mesh(), s.mesh(), s.mesh()
	c := newCollector()
	var running, overlaps int
	var mu sync.Mutex
	me, _ := s.open(to, func(f []byte) {
		mu.Lock()
		running++
		if running > 1 {
			overlaps++
		}
		mu.Unlock()
		c.take(f)
		mu.Lock()
		running--
		mu.Unlock()
	})
	var all sync.WaitGroup
	for i, m := range []cluster.Mesh{a, b} {
		n := s.reaches(m, me, c, uint32(i), 0)
		all.Go(func() {
			for range frames {
				n++
				_ = m.Send(me, frame(uint32(i), n, 100))
			}
			s.await("the last frame comes", func() bool { return c.lastOf(uint32(i)) == n })
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if overlaps > 0 {
		s.t.Errorf("%d frames came while another was handled", overlaps)
	}
}

func (s *suite) sizes() {
	a, to := s.mesh(), s.mesh()
	c := newCollector()
	me, _ := s.open(to, c.take)
	n := s.reaches(a, me, c, 0, 0)
	for _, size := range []int{8, 9, 100, 4096, 65535, 65536, 200_000, 1 << 20, 10} {
		n++
		if err := a.Send(me, frame(0, n, size)); err != nil {
			s.t.Errorf("a frame of %d bytes was refused: %v", size, err)
		}
	}
	s.await("the last frame comes", func() bool { return c.lastOf(0) == n })
	if got := c.count(); got < 10 {
		s.t.Errorf("%d frames came of 10", got)
	}
	c.check(s.t)
}

func (s *suite) incarnations() {
	a, to := s.mesh(), s.mesh()
	one, other := newCollector(), newCollector()
	first, _ := s.open(to, one.take)
	second, _ := s.open(to, other.take)
	n := s.reaches(a, first, one, 1, 0)
	m := s.reaches(a, second, other, 2, 0)
	never := second + 100
	for range 100 {
		n, m = n+1, m+1
		_ = a.Send(first, frame(1, n, 0))
		_ = a.Send(never, frame(3, n, 0))
		_ = a.Send(second, frame(2, m, 0))
	}
	s.await("the last frames come", func() bool { return one.lastOf(1) == n && other.lastOf(2) == m })
	if one.lastOf(2) != 0 || other.lastOf(1) != 0 || one.lastOf(3) != 0 || other.lastOf(3) != 0 {
		s.t.Error("an incarnation got frames for another one")
	}
	one.check(s.t)
	other.check(s.t)
}

func (s *suite) stops() {
	a, to := s.mesh(), s.mesh()
	former, c := newCollector(), newCollector()
	old, stop := s.open(to, former.take)
	n := s.reaches(a, old, former, 1, 0)
	me, _ := s.open(to, c.take)
	for range 100 {
		n++
		_ = a.Send(old, frame(1, n, 0))
	}
	stop()
	seen := former.count()
	for range 100 {
		n++
		if err := a.Send(old, frame(1, n, 0)); !allowed(err) {
			s.t.Errorf("the error is %v", err)
		}
	}
	s.reaches(a, me, c, 2, 0) // the process is reached as before
	if got := former.count(); got != seen {
		s.t.Errorf("%d frames came after stop", got-seen)
	}
	former.check(s.t)
	c.check(s.t)
}

func (s *suite) stopWaits() {
	a, to := s.mesh(), s.mesh()
	handling, goOn := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(handling) })
	var ended bool
	me, stop := s.open(to, func([]byte) {
		begin()
		<-goOn
		ended = true
	})
	release := sync.OnceFunc(func() { close(goOn) })
	defer release()
	s.await("a frame is handled", func() bool {
		_ = a.Send(me, frame(0, 1, 0))
		select {
		case <-handling:
			return true
		case <-time.After(10 * time.Millisecond):
			return false
		}
	})
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		s.t.Error("stop returned while a frame was handled")
	case <-time.After(20 * time.Millisecond):
	}
	release()
	<-stopped
	if !ended {
		s.t.Error("stop returned before the frame was handled")
	}
}

// flood sends frames of 64 KiB, as fast as Send returns.
func (s *suite) flood(m cluster.Mesh, to cluster.Incarnation, n uint32) uint32 {
	s.t.Helper()
	const frames, size = 600, 64 << 10
	began := time.Now()
	for range frames {
		n++
		if err := m.Send(to, frame(0, n, size)); !allowed(err) {
			s.t.Fatalf("the error is %v", err)
		}
	}
	if took := time.Since(began); took > patience {
		s.t.Errorf("%d calls of Send took %v", frames, took)
	}
	return n
}

func (s *suite) slowPeer() {
	a, slow, other := s.mesh(), s.mesh(), s.mesh()
	c, o := newCollector(), newCollector()
	var hold sync.Mutex
	me, _ := s.open(slow, func(f []byte) {
		hold.Lock()
		defer hold.Unlock()
		c.take(f)
	})
	fast, _ := s.open(other, o.take)
	n := s.reaches(a, me, c, 0, 0)
	hold.Lock()
	n = s.flood(a, me, n)
	s.reaches(a, fast, o, 1, 0)
	hold.Unlock()
	s.reaches(a, me, c, 0, n)
	c.check(s.t)
	o.check(s.t)
}

func (s *suite) gonePeer() {
	a, gone, other := s.mesh(), s.mesh(), s.mesh()
	c, o := newCollector(), newCollector()
	me, stop := s.open(gone, c.take)
	next, _ := s.open(other, o.take)
	n := s.reaches(a, me, c, 0, 0)
	stop()
	if closer, ok := gone.(interface{ Close() }); ok {
		closer.Close()
	}
	s.flood(a, me, n)
	s.reaches(a, next, o, 1, 0)
	c.check(s.t)
	o.check(s.t)
}
