import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { defineCommand } from '../command.ts'
import { writeJson, writeLine } from '../output.ts'

export const command = defineCommand({
  description: 'Prints the version of windlass, and what it runs on.',
  watched: false,
  operands: [],
  options: {},
  examples: [
    { line: 'windlass version', does: 'Print one line for a bug report.' },
    { line: 'windlass version --json', does: 'The same for a program.' },
    { line: 'windlass version -q', does: 'The bare number.' },
  ],
  async run(context) {
    const facts = { version: readVersion(), node: process.version, os: 'linux', arch: process.arch, kernel: release() }
    if (context.json) writeJson(context, facts)
    else if (context.quiet) writeLine(context, facts.version)
    else
      writeLine(
        context,
        `windlass ${facts.version} (node ${facts.node}, ${facts.os} ${facts.arch}, kernel ${facts.kernel})`,
      )
    return 0
  },
})

/** The package's own statement; `src/` and `dist/` are at the same depth. */
export function readVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return version
}
