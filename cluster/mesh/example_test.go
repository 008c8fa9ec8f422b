package mesh_test

import (
	"fmt"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
)

// Two nodes by hand. A cluster.Node does the same with its Mesh: it opens its incarnation, and tells the addresses of the others.
func Example() {
	secret := []byte("32 random bytes, the same at all")
	a, err := mesh.New(mesh.Config{Listen: "127.0.0.1:0", Secret: secret})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	b, err := mesh.New(mesh.Config{Listen: "127.0.0.1:0", Secret: secret})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()

	came := make(chan string)
	stop, err := b.Open(2, func(frame []byte) { came <- string(frame) })
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	a.Route(map[cluster.Incarnation]string{2: b.Addr()})
	fmt.Println(a.Send(2, []byte("end this session")))
	fmt.Println(<-came)
	fmt.Println(a.Send(3, []byte("is anybody there?")))
	// Output:
	// <nil>
	// end this session
	// rollcall: no way to this node of the cluster
}
