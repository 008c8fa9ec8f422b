package cluster

import (
	"cmp"
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Broadcast sends a message to every client of all nodes whose bridges have the node as their Elsewhere, as engine.Engine.Broadcast does.
// Value is how many connections it was queued for on the nodes that have answered. On a node in Missing it may have been queued or not, but
// not twice. o.Report is called for connections on this node alone.
//
// The error is that of engine.Engine.Broadcast on this node, or a protocol.InternalError while the node is not in the cluster.
func (n *Node) Broadcast(ctx context.Context, m *protocol.Message, o *engine.SendOptions) (Answer[int], error) {
	a := Answer[int]{AsOf: time.Now()}
	if !n.inCluster() {
		return a, errLost
	}
	var err error
	if a.Value, err = n.broadcastHere(m, o); err != nil {
		return a, err
	}
	order := broadcastOrder{Message: *m}
	if o != nil {
		order.Policy, order.Key, order.Unreliable = o.Policy, o.Key, o.Unreliable
	}
	a.Missing = n.askAll(ctx, queryBroadcast, toJSON(n, &order), func(body []byte) {
		var there int
		if fromJSON(n, body, &there) {
			a.Value += there
		}
	})
	return a, ctx.Err()
}

// broadcastOrder is a broadcast, as JSON.
type broadcastOrder struct {
	Message    protocol.Message
	Policy     engine.SlowPolicy
	Key        string
	Unreliable bool
}

func (n *Node) answerBroadcast(_ context.Context, body []byte) []byte {
	var order broadcastOrder
	if !fromJSON(n, body, &order) {
		return nil
	}
	there, err := n.broadcastHere(&order.Message, &engine.SendOptions{Policy: order.Policy, Key: order.Key, Unreliable: order.Unreliable})
	if err != nil {
		n.log.Warn("a message for everyone could not be sent", zap.Error(err))
	}
	return toJSON(n, there)
}

// broadcastHere sends a message to the clients of this node.
func (n *Node) broadcastHere(m *protocol.Message, o *engine.SendOptions) (sent int, err error) {
	for _, b := range n.localSessions() {
		e, ok := b.(interface{ Engine() *engine.Engine })
		if !ok {
			continue
		}
		there, failed := e.Engine().Broadcast(e.Engine().Conns(), m, o)
		sent += there
		err = cmp.Or(err, failed)
	}
	return sent, err
}
