package redisdir

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/rollcall-go/rollcall/cluster"
)

// Swap implements cluster.Directory.
func (d *Directory) Swap(ctx context.Context, user string, prev cluster.Version, body []byte, o cluster.SwapOptions) (cluster.Version, error) {
	keys, args := d.recordKeys(user), []string{user, number(prev), string(body), o.Epoch, flag(o.Recovering)}
	answer, err := d.call(ctx, "swap", keys, args...)
	if isFull(err) {
		full := err
		if answer, err = d.call(ctx, "swap_full", keys, args...); status(answer) == "FULL" {
			err = full
		}
	}
	if err == nil {
		err = statusError(answer)
	}
	if err != nil {
		return 0, err
	}
	if len(answer) != 2 {
		return 0, errAnswer
	}
	return version(&answer[1])
}

// Remove implements cluster.Directory.
func (d *Directory) Remove(ctx context.Context, user string, prev cluster.Version, o cluster.SwapOptions) error {
	answer, err := d.call(ctx, "remove", d.recordKeys(user), user, number(prev), o.Epoch, flag(o.Recovering))
	if err != nil {
		return err
	}
	return statusError(answer)
}

// Look implements cluster.Directory.
func (d *Directory) Look(ctx context.Context, users ...string) ([]cluster.Record, error) {
	commands := make(rueidis.Commands, 0, len(users))
	for _, user := range users {
		commands = append(commands, d.client.B().Hget().Key(d.bucket(user)).Field(user).Build())
	}
	records := make([]cluster.Record, 0, len(users))
	for i, answer := range d.client.DoMulti(ctx, commands...) {
		raw, err := answer.ToString()
		if rueidis.IsRedisNil(err) {
			records = append(records, cluster.Record{User: users[i]})
			continue
		}
		if err != nil {
			return nil, err
		}
		records = append(records, record(users[i], raw))
	}
	return records, nil
}

// record returns a user's record. As the library does, it tells a value that is none of ours with version 1 and a body that no node can read.
func record(user, raw string) cluster.Record {
	b := []byte(raw)
	if len(b) >= 8 {
		if v := binary.BigEndian.Uint64(b); v >= 1 && v < 1<<53 {
			return cluster.Record{User: user, Version: cluster.Version(v), Body: b[8:]}
		}
	}
	return cluster.Record{User: user, Version: 1, Body: []byte{0}}
}

// walkStep is how many buckets are asked for at a time.
const walkStep = 200

// Walk implements cluster.Directory. It returns whole buckets, and so may return more than limit. It looks at no more than walkStep of
// them.
func (d *Directory) Walk(ctx context.Context, from string, limit int) (cluster.Listing, error) {
	bucket := 0
	if from != "" {
		n, err := strconv.Atoi(from)
		if err != nil || n < 0 {
			return cluster.Listing{}, errors.New("rollcall: Walk cannot go on from " + strconv.Quote(from))
		}
		bucket = n
	}
	var commands rueidis.Commands
	for b := bucket; b < min(bucket+walkStep, d.cfg.Buckets); b++ {
		commands = append(commands, d.client.B().Hgetall().Key(d.bucketKey(b)).Build())
	}
	var l cluster.Listing
	for _, answer := range d.client.DoMulti(ctx, commands...) {
		users, err := answer.AsStrMap()
		if err != nil {
			return cluster.Listing{}, err
		}
		for user, raw := range users {
			l.Records = append(l.Records, record(user, raw))
		}
		if bucket++; len(l.Records) >= max(limit, 1) {
			break
		}
	}
	if bucket < d.cfg.Buckets {
		l.Next = strconv.Itoa(bucket)
	}
	return l, nil
}

// Count implements cluster.Directory. It asks for the length of each bucket.
func (d *Directory) Count(ctx context.Context) (int, error) {
	total := int64(0)
	for bucket := 0; bucket < d.cfg.Buckets; {
		var commands rueidis.Commands
		for ; bucket < d.cfg.Buckets && len(commands) < 4*walkStep; bucket++ {
			commands = append(commands, d.client.B().Hlen().Key(d.bucketKey(bucket)).Build())
		}
		for _, answer := range d.client.DoMulti(ctx, commands...) {
			n, err := answer.AsInt64()
			if err != nil {
				return 0, err
			}
			total += n
		}
	}
	uncounted, err := d.client.Do(ctx, d.client.B().Hget().Key(d.uncounted()).Field("records").Build()).AsInt64()
	if err != nil && !rueidis.IsRedisNil(err) {
		return 0, err
	}
	return int(max(total-uncounted, 0)), nil
}
