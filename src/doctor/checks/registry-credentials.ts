import type { FindingCode } from '../catalogue.ts'
import { makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'
import { afterView } from './registry-view.ts'
import { describeVisit } from './registry-words.ts'

/** What leaves nothing to be asked of an image. */
export const withoutCredentials: readonly FindingCode[] = ['CREDENTIAL_HELPER_SILENT', 'CREDENTIALS_UNREADABLE']

/** Whether the credentials of the user who asks come at all: docker's configuration may name a program for them, which may wait for a keyring for ever. */
export const registryCredentials: CheckOf<'registry'> = {
  name: 'registry-credentials',
  of: 'registry',
  after: afterView,
  async look(visit) {
    const outcome = await visit.credential()
    if (outcome === undefined || outcome.error === undefined) return []
    const code = outcome.error.code === 'STALLED' ? 'CREDENTIAL_HELPER_SILENT' : 'CREDENTIALS_UNREADABLE'
    return [makeFinding(code, describeVisit(visit), { evidence: [outcome.error.message] })]
  },
}
