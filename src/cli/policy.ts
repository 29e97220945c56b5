import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Gatekeeper } from '../copy/trust/gatekeeper.ts'
import { wrapError } from '../errors.ts'
import type { Context, OptionTable } from './command.ts'

/** For each command that brings images in. */
export const policyOptions = {
  policy: {
    type: 'string',
    value: 'FILE',
    summary:
      'let in only what this policy (containers-policy.json) allows; default is /etc/windlass/policy.json, else ~/.config/containers/policy.json, else /etc/containers/policy.json, if there is one',
  },
} as const satisfies OptionTable

/** The first that is there counts. */
function defaultPaths(env: Context['env']): string[] {
  const home = env['HOME'] || homedir()
  return ['/etc/windlass/policy.json', join(home, '.config/containers/policy.json'), '/etc/containers/policy.json']
}

/**
 * Opens what decides which images may come in; undefined where all may.
 * @throws WindlassError POLICY_REFUSED if the policy cannot be used; FAILED, PERMISSION if it cannot be read
 */
export async function openPolicy(
  { env }: Pick<Context, 'env'>,
  file: string | undefined,
): Promise<Gatekeeper | undefined> {
  for (const path of file === undefined ? defaultPaths(env) : [resolve(file)]) {
    const bytes = await readFile(path).catch(error => {
      if (file === undefined && ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? ''))
        return undefined
      throw wrapError(error, `Cannot use policy ${path}`)
    })
    if (bytes === undefined) continue
    const { parsePolicy } = await import('../copy/trust/policy.ts')
    const policy = parsePolicy(bytes, path)
    const rules = [policy.fallback, ...[...policy.transports.values()].flatMap(scopes => [...scopes.values()])]
    if (rules.flat().every(({ type }) => type === 'insecureAcceptAnything')) return undefined
    const { openGatekeeper } = await import('../copy/trust/check.ts')
    return openGatekeeper(policy)
  }
  return undefined
}
