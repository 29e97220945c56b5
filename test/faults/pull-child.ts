/** Pulls with shorter patience than the command has. Its argument is a `PullOrder` as JSON; events go to stderr as with `--progress json`. */
import { planDecompressors } from '../../src/codec/external/plan.ts'
import { pull } from '../../src/copy/pull.ts'
import { isWindlassError } from '../../src/errors.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import { exitNow } from '../../src/sys/libc.ts'
import type { PullOrder } from './pull-process.ts'

const { reference, root, decompressor, path, patience } = JSON.parse(process.argv[2] ?? '') as PullOrder
const decompressors = await planDecompressors({ decompressor, path, directory: root, env: {} })
const platform = 'linux/amd64'
const run = pull(reference, { root, platform, decompressors, patience, credentials: noCredentials })
for await (const event of run) process.stderr.write(`${JSON.stringify(event)}\n`)
try {
  process.stdout.write(`${(await run.result).reference}\n`)
} catch (error) {
  if (!isWindlassError(error)) throw error
  const { code, message, facts } = error
  process.stderr.write(`${JSON.stringify({ error: { code, message, facts } })}\n`)
  exitNow(error.exitStatus)
}
