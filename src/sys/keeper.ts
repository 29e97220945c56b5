/**
 * What we start must not outlive us, however we end: nobody runs a handler after SIGKILL. So a shell stands by while programs run. It holds one end of
 * a pipe whose other end only we have; when that closes, it kills them. It also finds what left its process group (`setsid`, daemons): the environment
 * that a program was started with carries a mark, and its offspring inherits that.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'

/** The name of the mark in the environment of a program. */
export const markName = 'WINDLASS_CHILD'
/** One look through /proc for all programs that end in this time: a probe starts hundreds. */
const sweepMs = 500

/**
 * Lines on stdin: `+ MARK` before a program is started, `= MARK PID` after, `- MARK` when it has ended, `s` for a look at what is left of those that
 * ended. The end of its input, or SIGTERM, ends all. The groups go first: to look at environments takes longer, and waits for whoever hangs while it holds the lock of its memory.
 */
const script = `
run=$1 live= groups= ended=
sweep() {
  for _ in 1 2 3 4 5; do
    found=$(cd /proc && grep -lsF "$@" [0-9]*/environ)
    if [ -z "$found" ]; then return; fi
    for file in $found; do kill -9 "\${file%/environ}" 2>/dev/null; done
  done
}
without() {
  rest=
  for item; do case $item in "$mark" | "$mark":*) ;; *) rest="$rest $item" ;; esac; done
}
leave() {
  for item in $groups; do kill -9 "-\${item#*:}" 2>/dev/null; done
  if [ -n "$live$ended" ]; then sweep -e "${markName}=$run"; fi
  wait
  exit
}
trap leave TERM
while read -r word mark pid; do
  case $word in
    +) live="$live $mark" ;;
    =) groups="$groups $mark:$pid" ;;
    -)
      ended="$ended $mark"
      without $live; live=$rest
      without $groups; groups=$rest
      ;;
    s)
      set --
      for item in $ended; do set -- "$@" -e "${markName}=$item"; done
      ended=
      sweep "$@" &
      ;;
  esac
done
leave
`

/** A program that is kept from outliving us. */
export interface Kept {
  /** To stand in the program's environment as `markName`. */
  readonly mark: string
  /** The program runs, and leads a process group. */
  started(pid: number): void
  /** The program has ended, or was killed; what it started and left behind is killed soon after. A second call does nothing. */
  end(): void
}

class Keeper {
  /** Every mark of its programs begins so, and none of another keeper's: its last sweep may overlap with the next one's first program. */
  readonly #run = `${randomUUID()}.`
  #programs = 0
  readonly #shell: ChildProcess
  #live = 0
  #isSweepDue = false

  constructor() {
    const stdio = ['pipe', 'ignore', 'ignore'] as const
    const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C' }
    // A group of its own: what is meant for ours does not reach it.
    this.#shell = spawn('/bin/sh', ['-c', script, 'keeper', this.#run], {
      cwd: '/',
      env,
      detached: true,
      stdio: [...stdio],
    })
    this.#shell.on('error', () => {}) // without a shell nobody keeps them: the work goes on
    this.#shell.stdin?.on('error', () => {})
    this.#shell.unref()
    const socket = this.#shell.stdin as { unref?: () => void } | null
    socket?.unref?.()
  }

  get isGone(): boolean {
    return this.#shell.stdin?.writable !== true || this.#shell.exitCode !== null || this.#shell.signalCode !== null
  }

  keep(): Kept {
    const mark = `${this.#run}${++this.#programs}.`
    this.#live++
    this.#tell(`+ ${mark}`)
    let hasEnded = false
    return {
      mark,
      started: pid => this.#tell(`= ${mark} ${pid}`),
      end: () => {
        if (hasEnded) return
        hasEnded = true
        this.#live--
        this.#tell(`- ${mark}`)
        if (!this.#isSweepDue) setTimeout(() => this.#sweep(), sweepMs).unref()
        this.#isSweepDue = true
      },
    }
  }

  /** The end of its input is an order to sweep, too, and to leave. */
  #sweep(): void {
    this.#isSweepDue = false
    if (this.#live > 0) return this.#tell('s')
    this.#shell.stdin?.end()
    if (keeper === this) keeper = undefined
  }

  #tell(line: string): void {
    if (!this.isGone) this.#shell.stdin?.write(`${line}\n`)
  }
}

let keeper: Keeper | undefined

/** To be called before a program is started. */
export function keep(): Kept {
  if (keeper?.isGone) keeper = undefined
  keeper ??= new Keeper()
  return keeper.keep()
}
