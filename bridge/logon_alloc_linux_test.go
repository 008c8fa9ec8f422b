//go:build !race

package bridge_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// What a logon leaves behind lies between what stays, and is memory of an idle user: from the connection to the reply to its Logon,
// gnet's part included, so many allocations and no more.
func TestALogonTakesFewAllocations(t *testing.T) {
	const most = 42
	users := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: time.Hour}))
	e := testkit.Must(engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}, Loops: 1}))
	testkit.Must(bridge.Attach(e, users, nil, bridge.Config{}))
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- e.Run(ctx) }()
	to := netip.MustParseAddrPort(e.Addrs()[0].String())
	addr := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	frames := make([][]byte, 600)
	for i := range frames {
		frames[i] = frame(t, logonMessage(fmt.Sprintf("user%06d", i)))
	}
	var clients []int
	defer func() {
		for _, fd := range clients {
			_ = unix.Close(fd)
		}
		stop()
		<-stopped
		_ = users.Close(context.Background())
	}()
	clients = slices.Grow(clients, len(frames))
	reply := make([]byte, 4096)
	logOn := func(f []byte) { // by system calls, which allocate nothing
		fd := testkit.Must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		clients = append(clients, fd)
		if err := unix.Connect(fd, addr); err != nil {
			t.Fatal(err)
		}
		testkit.Must(unix.Write(fd, f))
		if n := testkit.Must(unix.Read(fd, reply)); n == 0 {
			t.Fatal("no reply")
		}
	}
	const warmUp = 200
	for _, f := range frames[:warmUp] {
		logOn(f)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, f := range frames[warmUp:] {
		logOn(f)
	}
	runtime.ReadMemStats(&after)
	n := float64(after.Mallocs-before.Mallocs) / float64(len(frames)-warmUp)
	if t.Logf("%.1f allocations a logon", n); n > most {
		t.Errorf("%.1f allocations a logon, want no more than %d", n, most)
	}
}
