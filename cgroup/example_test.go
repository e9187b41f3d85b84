package cgroup_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"hapressure/cgroup"
)

// A program that follows a unit's memory reads it and waits for the next hint.
func ExampleGroup() {
	mount, err := cgroup.Mount()
	if err != nil {
		log.Fatal(err)
	}
	group, err := cgroup.Open(mount, "/system.slice/haproxy.service")
	if err != nil {
		log.Fatal(err) // wraps cgroup.ErrGone if the unit does not run
	}
	defer group.Close()

	read := func(reason string) {
		pressure, err := group.Pressure()
		switch {
		case errors.Is(err, cgroup.ErrPSIOff):
			fmt.Println("boot with psi=1")
		case err != nil:
			log.Print(err)
		default:
			fmt.Printf("%s: %v of stall\n", reason, pressure.Some.Total)
		}
	}
	read("start")
	missing := func(sensor string, err error) { log.Print(err) }
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = group.Watch(ctx, missing, read)
	fmt.Println("gone:", errors.Is(err, cgroup.ErrGone))
}
