package controller

import (
	"time"

	"hapressure/cgroup"
	"hapressure/policy"
)

// slopeOver is the time over which the slope of usage is measured.
const slopeOver = 3 * time.Second

// slope remembers the usage of one limit over the last slopeOver.
type slope struct {
	limit  string
	points []point
}

type point struct {
	at    time.Duration
	usage uint64
}

// limitIn adds the usage of a limit and returns the seconds until usage reaches the limit
// at the slope of the last slopeOver.
func (s *slope) limitIn(now time.Duration, l cgroup.Limit) policy.Reading {
	if s.limit != l.String() { // usage of another limit has another slope
		s.limit, s.points = l.String(), s.points[:0]
	}
	s.points = append(s.points, point{now, l.Usage})
	for len(s.points) > 2 && now-s.points[1].at >= slopeOver {
		s.points = s.points[1:]
	}
	first := s.points[0]
	over := now - first.at
	switch {
	case over < slopeOver:
		return absent("usage has not been watched for long enough")
	case l.Usage <= first.usage:
		return absent(policy.NotRising)
	}
	rate := float64(l.Usage-first.usage) / over.Seconds()
	return policy.Reading{Value: float64(l.Headroom()) / rate}
}
