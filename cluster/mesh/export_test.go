package mesh

import (
	"time"

	"github.com/rollcall-go/rollcall/client"
)

// WithSilence has a mesh take a connection for lost after another time.
func (c Config) WithSilence(d time.Duration) Config {
	c.silence = d
	return c
}

// Bound returns the address that the mesh listens on.
func (m *Mesh) Bound() string { return m.engine.Addrs()[0].String() }

// Connect makes a connection to another mesh, over which the mesh has proved that it is of the cluster.
func (m *Mesh) Connect(addr string) (*client.Client, error) { return newPeer(m, addr).connect() }
