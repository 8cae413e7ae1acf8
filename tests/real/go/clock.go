// The clock is asked often; the C library's way through the vDSO is Go's own here.
package main

import (
	"fmt"
	"time"
)

func main() {
	start := time.Now()
	last := start
	backwards := 0
	for i := 0; i < 20000; i++ {
		now := time.Now()
		if now.Before(last) {
			backwards++
		}
		last = now
	}
	fmt.Println("backwards:", backwards, "year:", start.UTC().Year() >= 2024, "elapsed:", time.Since(start) > 0)
}
