package mesh_test

import (
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/cluster/meshtest"
	"github.com/rollcall-go/rollcall/internal/testca"
)

var secret = []byte("0123456789abcdef")

// fast is a time after which a connection is taken for lost.
const fast = 300 * time.Millisecond

// open returns a mesh that ends with the test.
func open(t testing.TB, cfg mesh.Config) *mesh.Mesh {
	t.Helper()
	cfg.Listen, cfg.Logger = "127.0.0.1:0", zap.NewNop()
	m, err := mesh.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func TestMesh(t *testing.T) {
	meshtest.Run(t, func(*testing.T) meshtest.Network {
		return meshtest.Network{New: func(t *testing.T) cluster.Mesh { return open(t, mesh.Config{Secret: secret}) }}
	})
}

func TestMeshWithCertificates(t *testing.T) {
	meshtest.Run(t, func(t *testing.T) meshtest.Network {
		ca := testca.New(t)
		return meshtest.Network{New: func(t *testing.T) cluster.Mesh { return open(t, mesh.Config{TLS: mutual(ca)}) }}
	})
}
