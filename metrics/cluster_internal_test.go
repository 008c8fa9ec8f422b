package metrics

import (
	"maps"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
)

// read returns what metrics read from their source, by name and label.
func read[S any](all []metric[S], s *S) map[string]float64 {
	values := make(map[string]float64)
	for _, m := range all {
		m.read(s, func(value float64, label ...string) {
			name := m.name
			for _, l := range label {
				name += " " + l
			}
			values[name] = value
		})
	}
	return values
}

// Each metric of a node, and of its mesh, has its own figure.
func TestTheFiguresOfANodeHaveTheirMetrics(t *testing.T) {
	node := cluster.Stats{Acts: true, StoreLost: true, LeaseLeft: 1500 * time.Millisecond, Nodes: 2, Claims: 3, Releases: 4, Queued: 5, Joins: 6, Fences: 7, Losses: 8,
		Renewals: 9, Failed: 10, Recoveries: 11, Burials: 12, Evictions: 13, Evicted: 14, Silent: 15, Missing: 16, Received: 17, Unsent: 18}
	want := map[string]float64{
		"rollcall_cluster_acts": 1, "rollcall_cluster_recovering": 0, "rollcall_cluster_store_lost": 1, "rollcall_cluster_lease_seconds": 1.5,
		"rollcall_cluster_nodes": 2, "rollcall_cluster_claims": 3, "rollcall_cluster_releases_waiting": 4, "rollcall_cluster_queue_bytes": 5,
		"rollcall_cluster_joins_total": 6, "rollcall_cluster_fences_total": 7, "rollcall_cluster_losses_total": 8,
		"rollcall_cluster_renewals_total counted": 9, "rollcall_cluster_renewals_total failed": 10, "rollcall_cluster_recoveries_total": 11,
		"rollcall_cluster_burials_total": 12, "rollcall_cluster_evictions_total": 13, "rollcall_cluster_evicted_total": 14,
		"rollcall_cluster_silent_total": 15, "rollcall_cluster_missing_total": 16,
		"rollcall_cluster_frames_received_total": 17, "rollcall_cluster_frames_unsent_total": 18,
	}
	if got := read(nodeMetrics, &node); !maps.Equal(got, want) {
		t.Errorf("of a node they are %v, want %v", got, want)
	}
	node = cluster.Stats{Recovering: true}
	got := read(nodeMetrics, &node)
	for name, v := range map[string]float64{"rollcall_cluster_acts": 0, "rollcall_cluster_recovering": 1, "rollcall_cluster_store_lost": 0} {
		if got[name] != v {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	way := mesh.Stats{Reached: 1, Lost: 2, Queued: 3, Sent: 4, Received: 5, Refused: 6}
	want = map[string]float64{
		"rollcall_mesh_peers reached": 1, "rollcall_mesh_peers lost": 2, "rollcall_mesh_queue_bytes": 3,
		"rollcall_mesh_frames_sent_total": 4, "rollcall_mesh_frames_received_total": 5, "rollcall_mesh_frames_refused_total": 6,
	}
	if got := read(meshMetrics, &way); !maps.Equal(got, want) {
		t.Errorf("of a mesh they are %v, want %v", got, want)
	}
}
