package redisdir

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/internal/logging"
)

// MeshConfig holds the settings of a Mesh.
type MeshConfig struct {
	// Prefix is that of Config.
	Prefix string
	// Queue is how many frames may wait for the server, and QueueBytes how many bytes: further ones are refused with
	// cluster.ErrPeerSlow. 0 or less means 16,384 frames and 16 MiB; more than a million frames means a million.
	Queue, QueueBytes int
	// Logger gets messages for operators. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger
}

// Mesh is a cluster.Mesh by the server's sharded channels. Make one with NewMesh.
type Mesh struct {
	client rueidis.Client
	prefix string
	log    *zap.Logger
	queue  chan letter
	bytes  atomic.Int64 // that wait in queue
	most   int64
	end    context.CancelFunc
	sender sync.WaitGroup
}

var _ cluster.Mesh = (*Mesh)(nil)

// letter is a frame on its way.
type letter struct {
	to    cluster.Incarnation
	frame []byte
}

const (
	// sendAtOnce is how many frames are given to the server at a time.
	sendAtOnce = 128
	// mostQueued is the greatest MeshConfig.Queue: room for it is taken at the start.
	mostQueued = 1_000_000
)

// NewMesh returns a Mesh on the client's server. Call Close when the node's Run has returned.
func NewMesh(client rueidis.Client, cfg MeshConfig) *Mesh {
	if cfg.Prefix == "" {
		cfg.Prefix = "rollcall"
	}
	if cfg.Queue <= 0 {
		cfg.Queue = 16384
	}
	cfg.Queue = min(cfg.Queue, mostQueued)
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = 16 << 20
	}
	ctx, end := context.WithCancel(context.Background())
	m := &Mesh{
		client: client, prefix: cfg.Prefix, log: logging.OrDefault(cfg.Logger),
		queue: make(chan letter, cfg.Queue), most: int64(cfg.QueueBytes), end: end,
	}
	m.sender.Go(func() { m.sendAll(ctx) })
	return m
}

// Close ends the mesh's goroutine. Frames that wait are lost.
func (m *Mesh) Close() {
	m.end()
	m.sender.Wait()
}

func (m *Mesh) channel(inc cluster.Incarnation) string { return "{" + m.prefix + "}:m:" + number(inc) }

// Open implements cluster.Mesh. stop returns when f does not run any more.
func (m *Mesh) Open(me cluster.Incarnation, f func(frame []byte)) (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	subscribed := make(chan struct{})
	confirm := sync.OnceFunc(func() { close(subscribed) })
	var receiver sync.WaitGroup
	receiver.Go(func() {
		hooked := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) { confirm() })
		for ctx.Err() == nil {
			err := m.client.Receive(hooked, m.client.B().Ssubscribe().Channel(m.channel(me)).Build(), func(msg rueidis.PubSubMessage) {
				f([]byte(msg.Message))
			})
			if ctx.Err() == nil {
				m.log.Warn("the mesh has lost its channel, and opens it again", zap.Error(err))
				pause(ctx, 100*time.Millisecond)
			}
		}
	})
	stop = func() {
		cancel()
		receiver.Wait()
	}
	select {
	case <-subscribed:
		return stop, nil
	case <-time.After(openFor):
		stop()
		return nil, context.DeadlineExceeded
	}
}

// openFor is how long the server may take to open a channel.
const openFor = 5 * time.Second

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Send implements cluster.Mesh.
func (m *Mesh) Send(to cluster.Incarnation, frame []byte) error {
	size := int64(len(frame))
	if waits := m.bytes.Add(size); waits > m.most && waits > size {
		m.bytes.Add(-size)
		return cluster.ErrPeerSlow
	}
	select {
	case m.queue <- letter{to, frame}:
		return nil
	default:
		m.bytes.Add(-size)
		return cluster.ErrPeerSlow
	}
}

// sendAll sends what is queued, until ctx ends.
func (m *Mesh) sendAll(ctx context.Context) {
	for {
		var commands rueidis.Commands
		select {
		case l := <-m.queue:
			commands = append(commands, m.publish(l))
		case <-ctx.Done():
			return
		}
		for more := true; more && len(commands) < sendAtOnce; {
			select {
			case l := <-m.queue:
				commands = append(commands, m.publish(l))
			default:
				more = false
			}
		}
		call, cancel := context.WithTimeout(ctx, time.Second)
		for _, answer := range m.client.DoMulti(call, commands...) {
			if err := answer.Error(); err != nil && ctx.Err() == nil {
				m.log.Debug("a frame was not sent", zap.Error(err))
			}
		}
		cancel()
	}
}

func (m *Mesh) publish(l letter) rueidis.Completed {
	m.bytes.Add(int64(-len(l.frame)))
	return m.client.B().Spublish().Channel(m.channel(l.to)).Message(string(l.frame)).Build()
}
