//go:build linux

package nodes

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/bench/internal/histogram"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
)

// FrameSize is the size of the frames that are measured, in bytes.
const FrameSize = 128

// WayFigures are what was found of one way between two nodes.
type WayFigures struct {
	There     Spread  // a frame and the one that answers it, one at a time
	PerS      float64 // frames that arrived in a second, as many as go
	Lost      float64 // the part of them that did not arrive
	CPU       float64 // µs of the nodes' processor time a frame, both ends
	ServerCPU float64 // µs of the server's processor time a frame
}

// MeshFigures are what was found of the ways between two nodes, and beside them of PUBLISH and SUBSCRIBE without Rollcall, where one
// goroutine sends, or Publishers.
type MeshFigures struct{ Direct, Redis, Alone, Publish WayFigures }

// Publishers is how many goroutines send of MeshFigures.Publish.
const Publishers = 128

// MeasureMesh measures the ways between two nodes, both in this process.
func MeasureMesh(s Settings) (f MeshFigures, err error) {
	if f.Direct, err = direct(s); err != nil {
		return f, err
	}
	if f.Redis, err = overRedis(s, 1, func(c rueidis.Client) (cluster.Mesh, func()) {
		m := redisdir.NewMesh(c, redisdir.MeshConfig{Logger: zap.NewNop()})
		return m, m.Close
	}); err != nil {
		return f, err
	}
	publish := func(c rueidis.Client) (cluster.Mesh, func()) { return plain{c}, func() {} }
	if f.Alone, err = overRedis(s, 1, publish); err != nil {
		return f, err
	}
	f.Publish, err = overRedis(s, Publishers, publish)
	return f, err
}

func direct(s Settings) (f WayFigures, err error) {
	var ends [2]*mesh.Mesh
	for i := range ends {
		ends[i], err = mesh.New(mesh.Config{Listen: "127.0.0.1:0", Secret: []byte("a secret of the benchmark"), Logger: zap.NewNop()})
		if err != nil {
			return f, err
		}
		defer ends[i].Close()
	}
	where := map[cluster.Incarnation]string{1: ends[0].Addr(), 2: ends[1].Addr()}
	for _, m := range ends {
		m.Route(where)
	}
	return measureWay(s, 1, ends[0], ends[1], func() (float64, error) { return 0, nil })
}

// overRedis measures with two ends that have a client each.
func overRedis(s Settings, senders int, open func(rueidis.Client) (m cluster.Mesh, shut func())) (f WayFigures, err error) {
	var ends [2]cluster.Mesh
	var client rueidis.Client
	for i := range ends {
		client, err = dial(s.Redis)
		if err != nil {
			return f, err
		}
		defer client.Close()
		m, shut := open(client)
		defer shut()
		ends[i] = m
	}
	w := &world{ctx: context.Background(), redis: client}
	return measureWay(s, senders, ends[0], ends[1], func() (float64, error) {
		seconds, err := w.cpu()
		return seconds * 1e6, err
	})
}

// measureWay measures the way from a to b. senders is how many goroutines send when as many frames go as can. server returns the processor
// time of the server, in µs.
func measureWay(s Settings, senders int, a, b cluster.Mesh, server func() (float64, error)) (f WayFigures, err error) {
	var flood atomic.Bool
	var arrived atomic.Int64
	answers := make(chan uint64, 1)
	stopB, err := b.Open(2, func(frame []byte) {
		if flood.Load() {
			arrived.Add(1)
			return
		}
		_ = b.Send(1, append([]byte(nil), frame...))
	})
	if err != nil {
		return f, err
	}
	defer stopB()
	stopA, err := a.Open(1, func(frame []byte) {
		select {
		case answers <- binary.BigEndian.Uint64(frame):
		default:
		}
	})
	if err != nil {
		return f, err
	}
	defer stopA()

	h := new(histogram.Histogram)
	number := uint64(0)
	for end := time.Now().Add(s.For + s.For/4); time.Now().Before(end); {
		number++
		frame := binary.BigEndian.AppendUint64(make([]byte, 0, FrameSize), number)
		began := time.Now()
		if err := a.Send(2, frame[:FrameSize]); err != nil {
			return f, fmt.Errorf("a frame was refused: %w", err)
		}
		timeout := time.NewTimer(time.Second)
		select {
		case <-answers:
			if time.Until(end) < s.For { // the first ones warm up
				h.Record(time.Since(began))
			}
		case <-timeout.C: // lost, or not connected yet
		}
		timeout.Stop()
	}
	f.There = spread(h)

	flood.Store(true)
	frame := make([]byte, FrameSize)
	cpu, serverCPU := processTime(), 0.0
	if serverCPU, err = server(); err != nil {
		return f, err
	}
	began := time.Now()
	var sent atomic.Int64
	_ = parallel(senders, func(int) error {
		for time.Since(began) < s.For {
			for range 256 / senders {
				if a.Send(2, frame) != nil {
					time.Sleep(100 * time.Microsecond)
					continue
				}
				sent.Add(1)
			}
			for sent.Load()-arrived.Load() > 60_000 && time.Since(began) < s.For { // what waits is to be less than the queue
				runtime.Gosched()
			}
		}
		return nil
	})
	seen := int64(-1)
	for seen != arrived.Load() {
		seen = arrived.Load()
		time.Sleep(50 * time.Millisecond)
	}
	took := time.Since(began) - 50*time.Millisecond
	f.PerS = float64(seen) / took.Seconds()
	f.Lost = 1 - float64(seen)/float64(sent.Load())
	f.CPU = float64((processTime() - cpu).Microseconds()) / float64(seen)
	after, err := server()
	f.ServerCPU = (after - serverCPU) / float64(seen)
	return f, err
}

// processTime returns the processor time that this process has taken.
func processTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
