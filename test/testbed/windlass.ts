/** windlass as its users run it: the program in `bin/`, with a store of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { type CommandResult, collectResult, run, runCommand, spawnOptions } from './command.ts'

export const windlassProgram = fileURLToPath(new URL('../../bin/windlass', import.meta.url))

export interface Windlass {
  /** Runs a command that must succeed. @returns its stdout */
  run(...args: string[]): Promise<string>
  /** Runs a command to whatever end. */
  try(...args: string[]): Promise<CommandResult>
  /** Starts a command; the process is windlass itself, so that signals reach it. */
  start(...args: string[]): { child: ChildProcess; result: Promise<CommandResult> }
}

/** @param root the store (`--root`) */
export function openWindlass(root: string): Windlass {
  return windlassFor(root, {})
}

/** A windlass that finds an engine through its environment. */
export function windlassFor(root: string, engine: Record<string, string>): Windlass {
  const env = { DOCKER_CONFIG: '/nonexistent', WINDLASS_ROOT: undefined, ...engine }
  const all = (args: readonly string[]) => ['--root', root, ...args]
  return {
    run: (...args) => run(windlassProgram, all(args), { env }),
    try: (...args) => runCommand(windlassProgram, all(args), { env }),
    start(...args) {
      const child = spawn(windlassProgram, all(args), spawnOptions({ env }))
      return { child, result: collectResult(child) }
    },
  }
}
