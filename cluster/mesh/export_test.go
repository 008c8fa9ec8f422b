package mesh

import "time"

// WithSilence has a mesh take a connection for lost after another time.
func (c Config) WithSilence(d time.Duration) Config {
	c.silence = d
	return c
}

// Bound returns the address that the mesh listens on.
func (m *Mesh) Bound() string { return m.engine.Addrs()[0].String() }
