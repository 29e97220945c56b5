/** Takes a guard out of a copy of the tree, and runs the test that must notice. Needs root. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runCommand } from '../testbed/command.ts'
import type { Mutant } from './mutants.ts'

export const tree = join(import.meta.dirname, '../..')

/** The source with the guard taken out. @throws Error if what is to be replaced is not there exactly once */
export function mutate({ file, edits }: Pick<Mutant, 'file' | 'edits'>): string {
  return edits.reduce(
    (source, [from, to]) => {
      const pieces = source.split(from)
      if (pieces.length !== 2) throw new Error(`${file} has ${pieces.length - 1} times: ${from}`)
      return pieces.join(to)
    },
    readFileSync(join(tree, file), 'utf8'),
  )
}

/** `killed`: a test failed, by an assertion of its own. `broken`: nothing was tested, since the file did not even load. */
export type Verdict = 'killed' | 'survived' | 'broken'

export async function runMutant(mutant: Mutant): Promise<{ verdict: Verdict; failed: readonly string[] }> {
  const base = mkdtempSync(join(tmpdir(), 'windlass-mutant-'))
  const changed = join(base, 'changed')
  const sandbox = join(base, 'sandbox')
  mkdirSync(sandbox)
  writeFileSync(changed, mutate(mutant))
  try {
    const name = mutant.name === undefined ? [] : [`--test-name-pattern=${mutant.name}`]
    const test = [process.execPath, '--test', '--test-reporter=tap', '--test-timeout=200000', ...name, mutant.test]
    const unshare = ['-m', '-p', '-f', '-n', '-i', '--kill-child', 'sh', join(import.meta.dirname, 'sandbox.sh')]
    const { status, stdout, stderr } = await runCommand(
      'unshare',
      [...unshare, sandbox, tree, mutant.file, changed, ...test],
      {
        timeoutMs: 240_000,
      },
    )
    return judge(mutant, status, stdout + stderr)
  } finally {
    rmSync(base, { recursive: true, force: true })
  }
}

function judge(
  { test }: Mutant,
  status: number | null,
  output: string,
): { verdict: Verdict; failed: readonly string[] } {
  const lines = [...output.matchAll(/^ *(not ok|ok) \d+ - (.*?)( # .*)?$/gm)]
  const named = lines.filter(([, , name = '']) => !name.endsWith(test))
  const failed = named.flatMap(([, state, name = '']) => (state === 'ok' ? [] : [name]))
  if (failed.length > 0) return { verdict: 'killed', failed }
  return named.length > 0 && status === 0
    ? { verdict: 'survived', failed }
    : { verdict: 'broken', failed: [output.slice(-2000)] }
}
