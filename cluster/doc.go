// Package cluster has one user in one session over several nodes: processes, each with a user manager of its own, that share a store.
//
//	node, err := cluster.New(cluster.Config{Directory: store, Mesh: mesh, Name: "gate-1"})
//	users, err := usermgr.New(usermgr.Config{Claims: node})
//	node.Attach(users)
//	go node.Run(ctx)
//
// A user who logs on at one node ends the sessions at other nodes that may not live beside the new one, by the same RelogonMode and Devices
// as within one process and in the same order: PushedOut, Disconnected, then Connected. That holds while nodes die, are cut off, or stand
// still, and while the store restarts or another takes over: rules 19 to 21 of docs/contract.md.
//
// The store is a [Directory]: that of package redisdir, on Redis or Valkey, or of package memory. It has a record of some 50 bytes for
// each user who is online, and a table of the nodes. A logon costs one call of the store, and a replacement two and a question to the
// other node, which the [Mesh] carries.
//
// A node renews its lease every Config.Renew. It acts until its lease, less a margin, is over; others take it for dead, and let its users
// in, when they have seen no renewal for a whole lease. A node that cannot renew ends its sessions with NodeLost and joins anew. While it
// is outside the cluster it refuses logons with InternalError.
//
// A store that may have lost something, because it was restarted or another took over, grants no logon until all nodes that may be alive
// have written their sessions again: two renewals, and at most a lease. So the first node of a cluster waits a lease when it starts.
// A node acts when all others know it: one that starts while another has died, and is not buried yet, waits for that.
//
// # What a node does not do
//
// Messages, kicks, bans, counts and lists concern the sessions of one node; [Node.Where] and [Node.IsOnline] alone look further. Online,
// Offline and OfflineGrace concern one node: a user who moves goes offline at the old one. Tags and totals do not move. A client that was
// pushed out at one node is not known at another (rule 26). Between the end of a node's lease and the end of its sessions, a moment
// later, messages that come are still handled: ask [Node.May], or compare SessionInfo.Generation, before an effect that must not happen
// twice. Entries of dead nodes stay in the store until their users log on again.
//
// # Goroutines and locks
//
// Run has goroutines that guard the lease, renew it, release claims, and write sessions again; it waits for all of them. A node has one
// lock, under which nothing else is called. A [Mesh] calls the node from goroutines of its own.
package cluster
