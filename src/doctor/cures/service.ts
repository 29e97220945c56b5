/** The rescue as a service of systemd. */
import type { FileChange } from './file-change.ts'

/**
 * @param program the absolute path of windlass
 * @param metrics that of the file in which it keeps its counts, if it is to
 */
export function planService(program: string, metrics?: string): FileChange {
  const counted = metrics === undefined ? '' : ` --metrics ${quote(metrics)}`
  const lines = [
    '# Made by windlass.',
    '[Unit]',
    'Description=windlass: bring container image pulls that hang to their end',
    'After=docker.service containerd.service',
    '',
    '[Service]',
    `ExecStart=${quote(program)} doctor --watch --rescue --yes${counted}`,
    'Restart=always',
    'RestartSec=10',
    '# A rescue that is broken off is finished by the process that writes for it.',
    'KillMode=process',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ]
  return {
    path: '/etc/systemd/system/windlass-rescue.service',
    before: undefined,
    after: lines.join('\n'),
    mode: 0o644,
  }
}

function quote(path: string): string {
  return path.replace(/[%$"\\ ]/g, character =>
    character === '%' || character === '$' ? character + character : `\\x${character.charCodeAt(0).toString(16)}`,
  )
}
