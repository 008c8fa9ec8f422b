package memory_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/dirtest"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/cluster/meshtest"
)

func TestDirectory(t *testing.T) {
	dirtest.Run(t, func(*testing.T) dirtest.Store {
		d := memory.New()
		return dirtest.Store{Directory: d, Restart: d.Restart}
	})
}

// A Directory with Faults passes the suite while they do nothing.
func TestDirectoryWithFaults(t *testing.T) {
	dirtest.Run(t, func(*testing.T) dirtest.Store {
		d := memory.New()
		return dirtest.Store{Directory: d.With(memory.Faults{}), Restart: d.Restart}
	})
}

// In one process all nodes share a Mesh.
func TestMesh(t *testing.T) {
	meshtest.Run(t, func(*testing.T) meshtest.Network {
		m := memory.NewMesh()
		return meshtest.Network{New: func(*testing.T) cluster.Mesh { return m }}
	})
}

func ExampleDirectory() {
	ctx := context.Background()
	store := memory.New()
	v, err := store.Table(ctx)
	fmt.Println(v.Armed, err)
	_, err = store.Swap(ctx, "ann", 0, []byte("here"), cluster.SwapOptions{Epoch: v.Epoch})
	fmt.Println(err)
	store.Restart()
	_, err = store.Swap(ctx, "ann", 0, []byte("there"), cluster.SwapOptions{Epoch: v.Epoch})
	fmt.Println(err)
	// Output:
	// true <nil>
	// <nil>
	// rollcall: the cluster's store recovers
}
