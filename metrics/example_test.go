package metrics_test

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/metrics"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Two engines that share a user manager: its collector has no label, and each engine's has one.
func ExampleNew_severalEngines() {
	users, err := usermgr.New(usermgr.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.New(metrics.Config{Users: users}))
	for name, addr := range map[string]string{"public": ":9000", "internal": "127.0.0.1:9001"} {
		srv, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: addr}}})
		if err != nil {
			fmt.Println(err)
			return
		}
		b, err := bridge.Attach(srv, users, nil, bridge.Config{})
		if err != nil {
			fmt.Println(err)
			return
		}
		labels := prometheus.Labels{"engine": name}
		prometheus.WrapRegistererWith(labels, registry).MustRegister(metrics.New(metrics.Config{Engine: srv, Bridge: b}))
	}
	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
	}
	for _, f := range families {
		switch f.GetName() {
		case "rollcall_users", "rollcall_bans":
			fmt.Println(f.GetName(), "has", len(f.GetMetric()))
		}
	}
	// Output:
	// rollcall_bans has 2
	// rollcall_users has 1
}
