/** Starts a program that ignores SIGTERM, says its number, and makes a directory in a place that does not answer; a watchdog ends it. */
import { mkdirSync } from 'node:fs'
import { startWatchdog } from '../../src/cli/watchdog.ts'
import { PipedProcess } from '../../src/sys/processes.ts'

const child = new PipedProcess('/bin/sh', ['-c', 'trap "" TERM; while :; do sleep 1; done'])
const watchdog = { front: undefined, tellMs: 200, leaveMs: 500, json: false, quiet: true, report: undefined }
startWatchdog(watchdog)
process.stdout.write(`${child.pid}\n`)
// The thread of the watchdog needs the main one until it runs.
setTimeout(() => mkdirSync(process.argv[2] ?? ''), 500)
