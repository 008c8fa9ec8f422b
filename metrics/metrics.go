// Package metrics exports the statistics of an engine, a user manager, a bridge, services of push, presence and chat, and a cluster's node to
// Prometheus. It is a module of its own, so that programs that do not use it do not depend on Prometheus's packages. docs/metrics.md lists the metrics.
package metrics

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Config holds the sources of a collector. A nil source has no metrics.
type Config struct {
	// Engine is the engine whose connections, messages and queues are shown.
	Engine *engine.Engine
	// Users is the user manager whose users and sessions are shown.
	Users *usermgr.Manager
	// Bridge is the bridge whose logons are shown.
	Bridge *bridge.Bridge
	// Push is the service whose waiting messages are shown.
	Push *push.Service
	// Presence is the service whose watching sessions and notices are shown. Of a Chat it is Chat.Presence().
	Presence *presence.Service
	// Chat is the service whose stored and delivered messages are shown.
	Chat *chat.Service
	// Node is the node of a cluster whose lease, logons over nodes and frames are shown.
	Node *cluster.Node
	// Mesh is the direct way to other nodes whose connections are shown.
	Mesh *mesh.Mesh
}

// New returns a collector. Register it with a prometheus.Registerer. At each collection it takes one snapshot of each source. If one
// process has several engines, each engine needs a collector of its own, registered with labels: see prometheus.WrapRegistererWith.
func New(cfg Config) prometheus.Collector {
	c := &collector{}
	if cfg.Engine != nil {
		c.sources = append(c.sources, newSource(engineMetrics, cfg.Engine.Stats))
	}
	if cfg.Users != nil {
		c.sources = append(c.sources, newSource(userMetrics, cfg.Users.Stats))
	}
	if cfg.Bridge != nil {
		c.sources = append(c.sources, newSource(bridgeMetrics, cfg.Bridge.Logons))
	}
	if cfg.Push != nil {
		c.sources = append(c.sources, newSource(pushMetrics, cfg.Push.Stats))
	}
	if cfg.Presence != nil {
		c.sources = append(c.sources, newSource(presenceMetrics, cfg.Presence.Stats))
	}
	if cfg.Chat != nil {
		c.sources = append(c.sources, newSource(chatMetrics, cfg.Chat.Stats))
	}
	if cfg.Node != nil {
		c.sources = append(c.sources, newSource(nodeMetrics, cfg.Node.Stats))
	}
	if cfg.Mesh != nil {
		c.sources = append(c.sources, newSource(meshMetrics, cfg.Mesh.Stats))
	}
	return c
}

// collector collects from several sources.
type collector struct{ sources []source }

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range c.sources {
		s.describe(ch)
	}
}

// Collect implements prometheus.Collector. Any goroutine may call it.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.sources {
		s.collect(ch)
	}
}

// metric is one metric of a source. S is the type of the source's snapshot.
type metric[S any] struct {
	name  string
	typ   prometheus.ValueType
	label string // its only label; empty for none
	help  string
	read  func(s *S, put put)
}

// put exports a value of a metric, with the value of its label if it has one.
type put func(value float64, label ...string)

// source is a source of metrics, with one snapshot for all of them.
type source struct {
	describe func(ch chan<- *prometheus.Desc)
	collect  func(ch chan<- prometheus.Metric)
}

func newSource[S any](metrics []metric[S], stats func() S) source {
	descs := make([]*prometheus.Desc, len(metrics))
	for i, m := range metrics {
		descs[i] = m.desc()
	}
	return source{
		describe: func(ch chan<- *prometheus.Desc) {
			for _, d := range descs {
				ch <- d
			}
		},
		collect: func(ch chan<- prometheus.Metric) {
			s := stats()
			for i, m := range metrics {
				m.read(&s, func(value float64, label ...string) {
					ch <- prometheus.MustNewConstMetric(descs[i], m.typ, value, label...)
				})
			}
		},
	}
}

func (m *metric[S]) desc() *prometheus.Desc {
	var labels []string
	if m.label != "" {
		labels = []string{m.label}
	}
	return prometheus.NewDesc(m.name, m.help, labels, nil)
}

// one reads a metric without a label.
func one[S any, N int | int64 | uint64](value func(s *S) N) func(*S, put) {
	return func(s *S, put put) { put(float64(value(s))) }
}

// byCode reads a metric with a value for each close code.
func byCode[S any](counts func(s *S) map[protocol.CloseCode]uint64) func(*S, put) {
	return func(s *S, put put) {
		for code, n := range counts(s) {
			put(float64(n), codeLabel(code))
		}
	}
}

// codeLabel is a code's name, or the number of one that the protocol does not name.
func codeLabel(code protocol.CloseCode) string { return strings.TrimPrefix(code.Error(), "code ") }

func byDevice(s *usermgr.Stats, put put) {
	other := s.Sessions
	for device, n := range s.Devices {
		put(float64(n), strconv.Itoa(int(device)))
		other -= n
	}
	put(float64(other), "other")
}
