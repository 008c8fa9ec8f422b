package redisdir_test

import (
	"fmt"
	"testing"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/meshtest"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
)

// All tests of the suite share a server; each has channels of its own, and each mesh a client.
func TestMesh(t *testing.T) {
	s := startServer(t)
	n := 0
	meshtest.Run(t, func(*testing.T) meshtest.Network {
		n++
		prefix := fmt.Sprint("suite", n)
		return meshtest.Network{New: func(t *testing.T) cluster.Mesh {
			m := redisdir.NewMesh(connect(t, s.addr), redisdir.MeshConfig{Prefix: prefix, Logger: zap.NewNop()})
			t.Cleanup(m.Close)
			return m
		}}
	})
}
