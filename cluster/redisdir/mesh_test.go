package redisdir_test

import (
	"fmt"
	"testing"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/cluster/meshtest"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
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

// Rules 19 to 21 where two nodes are cut off from each other: what ends a session goes around, over the server, and the order of events
// is kept. When the nodes reach each other again, all goes on.
func TestLogonsGoOnWhereNodesAreCutOffFromEachOther(t *testing.T) {
	const users, clients = 40, 16
	var direct []*testkit.Cable
	s := newStand(t, 2, 0, usermgr.Devices{}, func(around cluster.Mesh) cluster.Mesh {
		listen := testkit.FreeAddr(t)
		way := testkit.NewCable(t, listen)
		m, err := mesh.New(mesh.Config{Listen: listen, Advertise: way.Addr(), Secret: []byte("the test's secret"), Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		direct = append(direct, way)
		return cluster.WithDetour(m, around)
	})
	stop := s.storm(users, clients)
	s.grow(500)
	for _, way := range direct {
		way.SetCut(true)
	}
	s.grow(500)
	for _, way := range direct {
		way.SetCut(false)
	}
	s.grow(500)
	in, refused := stop()
	s.settled(users)
	total := s.log.Count()
	t.Logf("%d logons came in, %d were refused, %d evictions, %d sessions lost", in, refused, total.Evicted, total.Lost)
	if total.Lost != 0 {
		t.Errorf("%d sessions were lost, although all nodes reached the server", total.Lost)
	}
}
