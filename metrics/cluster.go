package metrics

import (
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
)

var nodeMetrics = []metric[cluster.Stats]{
	{"rollcall_cluster_acts", gauge, "", "1 while the node acts, that is, may let users in; 0 otherwise.",
		yes(func(s *cluster.Stats) bool { return s.Acts })},
	{"rollcall_cluster_recovering", gauge, "", "1 while the store recovers and logons wait; 0 otherwise.",
		yes(func(s *cluster.Stats) bool { return s.Recovering })},
	{"rollcall_cluster_store_lost", gauge, "", "1 while the node goes on without the store (StoreLost Open); 0 otherwise.",
		yes(func(s *cluster.Stats) bool { return s.StoreLost })},
	{"rollcall_cluster_lease_seconds", gauge, "", "How long the node acts without another renewal; 0 without the store.",
		func(s *cluster.Stats, put put) { put(s.LeaseLeft.Seconds()) }},
	{"rollcall_cluster_nodes", gauge, "", "Nodes that live, as this one sees it; 0 while it does not act.",
		one(func(s *cluster.Stats) int { return s.Nodes })},
	{"rollcall_cluster_claims", gauge, "", "Sessions of the node and logons under way.",
		one(func(s *cluster.Stats) int { return s.Claims })},
	{"rollcall_cluster_releases_waiting", gauge, "", "Ends of sessions that the store does not know yet.",
		one(func(s *cluster.Stats) int { return s.Releases })},
	{"rollcall_cluster_queue_bytes", gauge, "", "Bytes of messages that wait until the place of their user is known, or the user is logged on here.",
		one(func(s *cluster.Stats) int { return s.Queued })},
	{"rollcall_cluster_joins_total", counter, "", "Times that the node has joined the cluster.",
		one(func(s *cluster.Stats) uint64 { return s.Joins })},
	{"rollcall_cluster_fences_total", counter, "", "Times that the node was cut off for too long, and all its sessions ended.",
		one(func(s *cluster.Stats) uint64 { return s.Fences })},
	{"rollcall_cluster_losses_total", counter, "", "Times that the node has lost the store, and has gone on without it.",
		one(func(s *cluster.Stats) uint64 { return s.Losses })},
	{"rollcall_cluster_renewals_total", counter, "outcome", "Renewals of the node's lease, by whether they counted.",
		func(s *cluster.Stats, put put) {
			put(float64(s.Renewals), "counted")
			put(float64(s.Failed), "failed")
		}},
	{"rollcall_cluster_recoveries_total", counter, "", "Times that the store began to recover.",
		one(func(s *cluster.Stats) uint64 { return s.Recoveries })},
	{"rollcall_cluster_burials_total", counter, "", "Nodes that this one has taken for dead.",
		one(func(s *cluster.Stats) uint64 { return s.Burials })},
	{"rollcall_cluster_evictions_total", counter, "", "Sessions elsewhere whose end a logon here has asked for.",
		one(func(s *cluster.Stats) uint64 { return s.Evictions })},
	{"rollcall_cluster_evicted_total", counter, "", "Sessions here whose end a logon elsewhere has asked for.",
		one(func(s *cluster.Stats) uint64 { return s.Evicted })},
	{"rollcall_cluster_silent_total", counter, "", "Logons refused because another node did not answer.",
		one(func(s *cluster.Stats) uint64 { return s.Silent })},
	{"rollcall_cluster_missing_total", counter, "", "Nodes that did not answer a query in time.",
		one(func(s *cluster.Stats) uint64 { return s.Missing })},
	{"rollcall_cluster_frames_received_total", counter, "", "Frames that came from other nodes.",
		one(func(s *cluster.Stats) uint64 { return s.Received })},
	{"rollcall_cluster_frames_unsent_total", counter, "", "Frames for other nodes that the mesh did not take.",
		one(func(s *cluster.Stats) uint64 { return s.Unsent })},
}

var meshMetrics = []metric[mesh.Stats]{
	{"rollcall_mesh_peers", gauge, "state", "Other processes of the cluster, by whether there is a connection to them.",
		func(s *mesh.Stats, put put) {
			put(float64(s.Reached), "reached")
			put(float64(s.Lost), "lost")
		}},
	{"rollcall_mesh_queue_bytes", gauge, "", "Bytes of frames that wait for other nodes.",
		one(func(s *mesh.Stats) int { return s.Queued })},
	{"rollcall_mesh_frames_sent_total", counter, "", "Frames handed to the network.",
		one(func(s *mesh.Stats) uint64 { return s.Sent })},
	{"rollcall_mesh_frames_received_total", counter, "", "Frames that came from other nodes.",
		one(func(s *mesh.Stats) uint64 { return s.Received })},
	{"rollcall_mesh_frames_refused_total", counter, "", "Frames refused because their node is not reached, or too much waits for it.",
		one(func(s *mesh.Stats) uint64 { return s.Refused })},
}

// yes reads a metric that is 1 or 0.
func yes[S any](value func(s *S) bool) func(*S, put) {
	return func(s *S, put put) {
		if value(s) {
			put(1)
			return
		}
		put(0)
	}
}
