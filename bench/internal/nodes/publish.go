//go:build linux

package nodes

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/rollcall-go/rollcall/cluster"
)

// plain sends frames by PUBLISH and SUBSCRIBE alone, as a program without Rollcall would: Send waits for the server's answer, and rueidis
// puts together what several goroutines send at once.
type plain struct{ client rueidis.Client }

var _ cluster.Mesh = plain{}

func (p plain) channel(inc cluster.Incarnation) string { return fmt.Sprint("plain:", inc) }

// Open implements cluster.Mesh.
func (p plain) Open(me cluster.Incarnation, f func(frame []byte)) (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	subscribed, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		hooked := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) {
			select {
			case subscribed <- struct{}{}:
			default:
			}
		})
		ended <- p.client.Receive(hooked, p.client.B().Subscribe().Channel(p.channel(me)).Build(), func(m rueidis.PubSubMessage) {
			f([]byte(m.Message))
		})
	}()
	stop = func() {
		cancel()
		<-ended
	}
	select {
	case <-subscribed:
		return stop, nil
	case err := <-ended:
		cancel()
		return nil, err
	case <-time.After(5 * time.Second):
		stop()
		return nil, context.DeadlineExceeded
	}
}

// Send implements cluster.Mesh.
func (p plain) Send(to cluster.Incarnation, frame []byte) error {
	return p.client.Do(context.Background(), p.client.B().Publish().Channel(p.channel(to)).Message(rueidis.BinaryString(frame)).Build()).Error()
}
