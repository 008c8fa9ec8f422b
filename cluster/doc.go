// Package cluster applies the rules for second logons across several nodes. A node is a process with a user manager of its own. All
// nodes share a store.
//
//	node, err := cluster.New(cluster.Config{Directory: store, Mesh: mesh, Name: "gate-1"})
//	users, err := usermgr.New(usermgr.Config{Claims: node})
//	b, err := bridge.Attach(e, users, check, bridge.Config{Elsewhere: node})
//	go node.Run(ctx)
//
// RelogonMode and Devices work across all nodes as within one process. If a logon at one node replaces a session at another node, the
// events come in the same order: PushedOut, Disconnected, then Connected. This also holds when nodes die, are cut off or stand still, and
// when the store restarts or a replica of the store takes over: see rules 19 to 21 of docs/contract.md.
//
// The store is a [Directory]: that of package redisdir, on Redis or Valkey, or that of package memory. It has a record of some 50 bytes for
// each user who is online, and a table of the nodes. A logon costs one call of the store. A logon that replaces a session at another node
// costs two calls, and a question to that node. The [Mesh] carries the question: that of package mesh directly, over TCP, or that of package
// redisdir over the store's server.
//
// A node renews its lease every Config.Renew. A node acts (its sessions count as live) until Config.Margin before the end of its lease. If the other nodes see no renewal for a whole lease, they take the node for dead, and its users may log on at the other nodes. A
// node that cannot renew its lease ends its sessions with NodeLost and joins the cluster anew. While it is outside the cluster it refuses
// logons with InternalError.
//
// A store that was restarted, or that took over from another, may have lost records. It grants no logon until all nodes that may be alive
// have written their sessions again. This takes at least two renewal intervals, and at most one lease. A store that was just started
// counts as restarted, so the first node of a cluster waits for one lease when it starts.
//
// A new node begins to act when all other nodes know it. A node that has died cannot learn of it, so the new node waits until the dead
// node is marked as dead in the table.
//
// The sessions of a node that has died leave the store within a lease or two: other nodes sweep them out, see Events.Swept. After each
// recovery of the store, and every hour, a node holds its sessions against the store. A session's other events (created, updated, deleted)
// are Connected, Tagged and Disconnected of its node's user manager.
//
// A user is online while any node has a session of the user, or a grace (usermgr.Config.OfflineGrace). Online and Offline come once in the
// whole cluster, on one of its nodes (rule 17). A user who moves takes along the totals, the tag, and what Manager.AddCarryPart names.
//
// # Messages
//
// A message to a user who has no session on this node goes to the nodes where the user has sessions: Bridge.Send, the bridge's Relay and
// the question who is online reach the users of all nodes (rule 23). If a user may have several sessions, a message goes to those here and
// to those elsewhere. The store is asked where a user is at most once in Config.LocationTTL, and not at all for users who have their only
// session here.
//
// [Node.Kick] and [Node.KickSession] throw users out on all nodes. What only one node was asked to do, by Manager.Kick for example, concerns its
// own sessions; but a client that was kicked or pushed out at one node does not come back by itself at another (rule 26): the user's record in the
// store says so. [Node.Pusher] has a
// push.Service reach the sessions on all nodes. [Node.Sessions], [Node.Count], [Node.UserPage] and [Node.Broadcast] concern all nodes too.
//
// # What a node does not do
//
// Counts and lists of the user manager concern the sessions of one node, and so do groups. A message that is kept for a user waits on the node
// that has pushed it. The tag of a session is not carried to another node.
//
// A node's engine delivers nothing that it reads when the node does not act any more. But a handler that began before may still run then, for
// example because the process stood still, and so may timers of the application. So before a handler does something that must not happen
// twice, it should ask [Node.May]; a process may stand still even after that, so what is stored should have SessionInfo.Generation beside
// it, and the store should refuse a smaller one.
//
// # Goroutines and locks
//
// Run has goroutines that guard the lease, renew it, release claims, audit the store, and write sessions again; it waits for all of them. A
// node has one lock. No call of the store, the mesh or the user manager is made while it is held. A [Mesh] calls the node from goroutines of its own.
package cluster
