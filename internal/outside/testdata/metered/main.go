// Metered is a server whose metrics Prometheus can read. It requires only the main module and the module metrics.
package main

import (
	"fmt"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/metrics"
)

func main() {
	srv, err := rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.New(metrics.Config{Engine: srv.Engine, Users: srv.Users, Bridge: srv.Bridge}))
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "rollcall_users" {
			fmt.Println("users:", f.GetMetric()[0].GetGauge().GetValue())
		}
	}
}
