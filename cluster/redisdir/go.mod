module github.com/rollcall-go/rollcall/cluster/redisdir

go 1.25.0

require (
	github.com/redis/rueidis v1.0.79
	github.com/rollcall-go/rollcall v0.1.0
	go.uber.org/zap v1.28.0
)

require (
	github.com/google/uuid v1.6.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/rollcall-go/rollcall => ../..
